package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProcessName(t *testing.T) {
	for argv, want := range map[string]string{
		"node server.js": "server.js",
		"/usr/local/bin/node /app/server.js --port 1":       "server.js",
		"node -r ./hook.js --import x server.js":            "server.js",
		"node --require=./hook.js server.js":                "server.js",
		"node --max-old-space-size=100 --inspect server.js": "server.js",
		"node --env-file .env -C dev --title x app.mjs":     "app.mjs",
		"node --inspect-port 0 -i server.js":                "server.js",
		"node -- -x.js":                                     "-x.js",
		"node --":                                           "node",
		"node -e 1 x.js":                                    "node -e",
		"node --eval=1":                                     "node -e",
		"node -p 1":                                         "node -e",
		"node -r x":                                         "node",
		"node -r":                                           "node",
		"node - x.js":                                       "node",
		"node --run test":                                   "node --run",
		"node":                                              "node",
		"nodejs a.js":                                       "a.js",
		"node.exe a.js":                                     "a.js",
		"./child a.js":                                      "child",
		"/opt/bin/worker":                                   "worker",
		"":                                                  "?",
	} {
		require.Equal(t, want, processName(strings.Fields(argv), ""), argv)
	}
	require.Equal(t, "worker 2 app.js", processName([]string{"node", "app.js"}, "2"))
	require.Equal(t, "?", processName([]string{""}, ""))
}
