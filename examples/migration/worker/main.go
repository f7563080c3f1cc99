// Worker has the first route that server.js gives away.
package main

import (
	"bytes"
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

func main() {
	text, err := os.ReadFile("users.json")
	if err != nil {
		log.Fatal(err)
	}
	var users bytes.Buffer
	if err := json.Compact(&users, text); err != nil {
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/users", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Write(users.Bytes())
	})
	if err := cluster.ListenAndServe(":"+os.Getenv("PORT"), oneRequest(mux)); err != nil {
		log.Fatal(err)
	}
}

// oneRequest ends each connection with its first answer: the next request may be for a route that only Node has.
func oneRequest(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Powered-By", "Go")
		w.Header().Set("Connection", "close")
		h.ServeHTTP(w, r)
	})
}
