package nodeipc

import (
	"fmt"
	"os"
	"strconv"
)

// The environment by which Node's child_process and cluster pass a channel (docs/protocol.md 1.1).
const (
	envFD            = "NODE_CHANNEL_FD"
	envSerialization = "NODE_CHANNEL_SERIALIZATION_MODE"
	envWorkerID      = "NODE_UNIQUE_ID"
)

// Connect opens the channel to the process that started this one, as named by NODE_CHANNEL_FD. It unsets that variable,
// NODE_CHANNEL_SERIALIZATION_MODE and NODE_UNIQUE_ID, as Node does, so that processes started later do not take a
// channel for theirs that is not; for the same reason call it early. Without a channel, and in a second call, the error
// is ErrNoChannel: a program may go on alone then. A worker of a cluster calls cluster.Join instead: with Connect the
// primary never sees it online.
//
// A program started by child_process.fork with the option execPath finds Node's own arguments before its own, since
// fork runs [execPath, ...execArgv, module, ...args]: flag.Parse stops at the module. Pass execArgv: [] and skip an
// argument, or use spawn(binary, args, {stdio: [0, 1, 2, 'ipc']}), which adds none.
func Connect(opts *Options) (*Channel, error) {
	const op = "connect"
	value, mode := os.Getenv(envFD), os.Getenv(envSerialization)
	for _, name := range []string{envFD, envSerialization, envWorkerID} {
		os.Unsetenv(name)
	}
	if value == "" {
		return nil, ErrNoChannel
	}
	fd, err := parseFD(value)
	if err != nil {
		return nil, opError(op, err)
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Serialization, err = parseMode(mode); err != nil {
		return nil, opError(op, err)
	}
	t, err := openChannel(fd)
	if err != nil {
		return nil, opErrorf(op, "%s=%s: %w", envFD, value, err)
	}
	setPeer(t, os.Getppid())
	return newChannel(t, &o).marked(), nil
}

func parseMode(value string) (Serialization, error) {
	for _, s := range []Serialization{JSON, Advanced} {
		if value == s.String() {
			return s, nil
		}
	}
	if value == "" { // whoever sets the descriptor alone
		return JSON, nil
	}
	return 0, fmt.Errorf("%s=%q is no serialization of Node's", envSerialization, value)
}

func parseFD(value string) (int, error) {
	for _, r := range value {
		if r < '0' || r > '9' {
			return 0, fmt.Errorf("%s=%q is not a plain number; it is set by Node and must reach this process unchanged", envFD, value)
		}
	}
	fd, err := strconv.ParseInt(value, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s=%q is no descriptor number", envFD, value)
	}
	return int(fd), nil
}
