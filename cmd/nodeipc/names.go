package main

import (
	"path/filepath"
	"strings"
)

// takesValue are the flags of Node, 12 to 26, whose value may be the next argument. Those that are V8's need a "=".
var takesValue = func() map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(`
		-C -r --require --import --loader --experimental-loader --conditions --env-file --env-file-if-exists --title
		--allow-fs-read --allow-fs-write --build-snapshot-config --cpu-prof-dir --cpu-prof-interval --cpu-prof-name
		--debug-port --diagnostic-dir --disable-proto --disable-warning --dns-result-order
		--es-module-specifier-resolution --experimental-config-file --experimental-default-type --experimental-policy
		--experimental-specifier-resolution --experimental-test-isolation --heap-prof-dir --heap-prof-interval
		--heap-prof-name --heapsnapshot-near-heap-limit --heapsnapshot-signal --http-parser
		--http-server-default-timeout --icu-data-dir --input-type --inspect-port --inspect-publish-uid
		--localstorage-file --max-http-header-size --max-old-space-size-percentage
		--network-family-autoselection-attempt-timeout --openssl-config --policy-integrity --redirect-warnings
		--report-dir --report-directory --report-filename --report-signal --secure-heap --secure-heap-min
		--snapshot-blob --test-concurrency --test-coverage-branches --test-coverage-exclude
		--test-coverage-functions --test-coverage-include --test-coverage-lines --test-global-setup
		--test-isolation --test-name-pattern --test-reporter --test-reporter-destination --test-shard
		--test-skip-pattern --test-timeout --tls-cipher-list --tls-keylog --trace-event-categories
		--trace-event-file-pattern --trace-require-module --unhandled-rejections --use-largepages --v8-pool-size
		--watch-path`) {
		set[name] = true
	}
	return set
}()

// processName names a process by the arguments that it was started with: the script of a Node program, the file of any
// other. worker is its number in a cluster, or "".
func processName(argv []string, worker string) string {
	name := programName(argv)
	if worker != "" {
		return "worker " + worker + " " + name
	}
	return name
}

func programName(argv []string) string {
	if len(argv) == 0 || argv[0] == "" {
		return "?"
	}
	name := filepath.Base(argv[0])
	switch strings.TrimSuffix(name, ".exe") {
	case "node", "nodejs":
	default:
		return name
	}
	for i := 1; i < len(argv); i++ {
		arg := argv[i]
		flag, _, joined := strings.Cut(arg, "=")
		switch {
		case arg == "--":
			if i+1 == len(argv) {
				return name
			}
			return filepath.Base(argv[i+1])
		case arg == "-" || arg == "":
			return name // the script comes from the standard input
		case arg[0] != '-':
			return filepath.Base(arg)
		case flag == "-e" || flag == "--eval" || flag == "-p" || flag == "--print" || flag == "-pe":
			return name + " -e"
		case flag == "--run":
			return name + " --run"
		case !joined && takesValue[flag]:
			i++
		}
	}
	return name
}
