// All has all routes of server.js.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

type user struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

func main() {
	text, err := os.ReadFile("users.json")
	if err != nil {
		log.Fatal(err)
	}
	var users []user
	if err := json.Unmarshal(text, &users); err != nil {
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintln(w, "<h1>Users</h1>")
	})
	mux.HandleFunc("GET /api/users", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, users)
	})
	mux.HandleFunc("GET /api/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		for _, u := range users {
			if err == nil && u.ID == id {
				reply(w, http.StatusOK, u)
				return
			}
		}
		reply(w, http.StatusNotFound, map[string]string{"error": "no such user"})
	})
	if err := cluster.ListenAndServe(":"+os.Getenv("PORT"), poweredBy(mux)); err != nil {
		log.Fatal(err)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(text)
}

func poweredBy(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Powered-By", "Go")
		h.ServeHTTP(w, r)
	})
}
