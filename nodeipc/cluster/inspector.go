package cluster

import (
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Node v22 lib/internal/cluster/primary.js, createWorkerProcess.
var (
	inspectOption = regexp.MustCompile(`--inspect(?:-brk|-port|-wait)?|--debug-port`)
	inspectPort   = regexp.MustCompile(`(?:--inspect(?:-brk|-port|-wait)?|--debug-port)=(?:.*:)?(\d+)$`)
)

// Options of Node whose value is the next argument.
var valueOptions = []string{"-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions"}

const (
	defaultInspectPort = 9229
	maxPort            = 65535
	minInspectPort     = 1024
)

// inspector gives cmd an inspector port of its own if it has an option for one.
func (p *Primary) inspector(cmd *exec.Cmd) {
	end, found, base := 1, false, defaultInspectPort // of Node's own options
	look := func(option string) {
		if !inspectOption.MatchString(option) {
			return
		}
		found = true
		if m := inspectPort.FindStringSubmatch(option); m != nil {
			base, _ = strconv.Atoi(m[1])
		}
	}
	for _, kv := range cmd.Env {
		if options, ok := strings.CutPrefix(kv, "NODE_OPTIONS="); ok {
			for _, option := range strings.Fields(options) {
				look(option)
			}
		}
	}
	for end < len(cmd.Args) && strings.HasPrefix(cmd.Args[end], "-") && cmd.Args[end] != "--" {
		look(cmd.Args[end])
		if slices.Contains(valueOptions, cmd.Args[end]) {
			end++
		}
		end++
	}
	if !found || base == 0 || end > len(cmd.Args) {
		return // with port 0 each takes any
	}
	p.mu.Lock()
	p.ports++
	port := base + p.ports
	p.mu.Unlock()
	if port > maxPort {
		port = minInspectPort + (port-maxPort-1)%(maxPort-minInspectPort+1)
	}
	cmd.Args = slices.Insert(slices.Clone(cmd.Args), end, "--inspect-port="+strconv.Itoa(port))
}
