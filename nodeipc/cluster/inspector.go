package cluster

import (
	"os/exec"
	"path/filepath"
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
var valueOptions = []string{"-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions", "--inspect-port", "--debug-port"}

const (
	defaultInspectPort = 9229
	maxPort            = 65535
	minInspectPort     = 1024
)

// inspector gives cmd an inspector port of its own if it has an option for one. It is put right behind the last such
// option, as it may not be known which other option has a value; or first, if the option is in the environment, which
// only Node heeds.
func (p *Primary) inspector(cmd *exec.Cmd) {
	at, base := 0, defaultInspectPort
	look := func(option string, place int) {
		if !inspectOption.MatchString(option) {
			return
		}
		at = place
		if m := inspectPort.FindStringSubmatch(option); m != nil {
			base, _ = strconv.Atoi(m[1])
		}
	}
	for _, kv := range cmd.Env {
		options, ok := strings.CutPrefix(kv, "NODE_OPTIONS=")
		if ok && strings.HasPrefix(filepath.Base(cmd.Path), "node") {
			for _, option := range strings.Fields(options) {
				look(option, 1)
			}
		}
	}
	for i := 1; i < len(cmd.Args) && strings.HasPrefix(cmd.Args[i], "-") && cmd.Args[i] != "--"; i++ {
		option := cmd.Args[i]
		if slices.Contains(valueOptions, option) && i+1 < len(cmd.Args) {
			i++
			option += "=" + cmd.Args[i]
		}
		look(option, i+1)
	}
	if at == 0 || base == 0 {
		return // with port 0 each takes any
	}
	p.mu.Lock()
	p.ports++
	port := base + p.ports
	p.mu.Unlock()
	if port > maxPort {
		port = minInspectPort + (port-maxPort-1)%(maxPort-minInspectPort+1)
	}
	cmd.Args = slices.Insert(slices.Clone(cmd.Args), at, "--inspect-port="+strconv.Itoa(port))
}
