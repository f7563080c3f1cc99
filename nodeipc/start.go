package nodeipc

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Start starts cmd with a channel attached and returns our end of it. cmd may be Node, a Go program that calls Connect,
// or anything else that speaks the protocol. It stays the caller's: set Env, Dir, ExtraFiles, Stdout, Cancel and
// WaitDelay before, call cmd.Wait after. A nil Env means the environment of this process, as in os/exec. The channel
// becomes the file after the caller's ExtraFiles, which keep their numbers. When the process ends the channel
// disconnects. A Node process that listens for messages does not end before the channel does: Disconnect before Wait.
func Start(cmd *exec.Cmd, opts *Options) (*Channel, error) {
	p, err := Prepare(cmd, opts)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		p.Abort()
		return nil, opError("start", err)
	}
	return p.Started()
}

// Prepared is a channel attached to a command that has not been started. Its methods must not be called concurrently.
type Prepared struct {
	cmd   *exec.Cmd
	opts  *Options
	ours  int
	child *os.File
	env   []string   // as the caller had it
	files []*os.File // likewise
}

// Prepare attaches a channel to cmd, by its Env and ExtraFiles, for a caller who starts it himself: then Started gives
// the Channel. One of Started and Abort must be called.
func Prepare(cmd *exec.Cmd, opts *Options) (*Prepared, error) {
	if cmd.Process != nil {
		return nil, opErrorf("start", "the command has been started already; attach the channel before")
	}
	ours, child, err := channelPair()
	if err != nil {
		return nil, opError("start", err)
	}
	p := &Prepared{cmd: cmd, opts: opts, ours: ours, child: child, env: cmd.Env, files: cmd.ExtraFiles}
	cmd.Env = childEnv(cmd, 3+len(cmd.ExtraFiles), opts.resolved().Serialization)
	cmd.ExtraFiles = append(cmd.ExtraFiles[:len(cmd.ExtraFiles):len(cmd.ExtraFiles)], child)
	return p, nil
}

// Started returns the Channel after cmd was started. Our copy of the child's end is closed, so that its death is seen.
func (p *Prepared) Started() (*Channel, error) {
	if p.child == nil {
		return nil, opErrorf("start", "Started or Abort was called before")
	}
	if p.cmd.Process == nil {
		p.Abort()
		return nil, opErrorf("start", "the command was not started")
	}
	p.restore()
	t, err := ownEnd(p.ours)
	if err != nil {
		return nil, opError("start", err)
	}
	setPeer(t, p.cmd.Process.Pid)
	return newChannel(t, p.opts), nil
}

// Abort releases the channel of a command that is not to be started. After Started it does nothing.
func (p *Prepared) Abort() {
	if p.child != nil {
		p.restore()
		closeFD(p.ours)
	}
}

func (p *Prepared) restore() {
	p.child.Close()
	p.child = nil
	p.cmd.Env, p.cmd.ExtraFiles = p.env, p.files
}

// childEnv returns cmd's environment with the channel's variables, once each: of two entries some programs take the
// first. A worker id of our own is not inherited, one that the caller set is kept.
func childEnv(cmd *exec.Cmd, fd int, mode Serialization) []string {
	inherit := cmd.Env == nil
	env := cmd.Environ()
	out := make([]string, 0, len(env)+2)
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if name == envFD || name == envSerialization || inherit && name == envWorkerID {
			continue
		}
		out = append(out, kv)
	}
	return append(out, envFD+"="+strconv.Itoa(fd), envSerialization+"="+mode.String())
}
