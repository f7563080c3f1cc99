package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"strconv"
)

// A worker that a Node worker has adopted: the function adopt of the npm package @nodeipc/go gives its channel to this
// process and stays in between for the signals, the output and the exit code (docs/ecosystem.md). The variable says so,
// and names a socket that the Node process holds the other end of.
const envAdopted = "NODEIPC_ADOPT_FD"

// adopted returns that socket, and nil for a worker of its own. The variable is unset, as nodeipc.Connect does with its.
func adopted() *os.File {
	value := os.Getenv(envAdopted)
	os.Unsetenv(envAdopted)
	fd, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return nil
	}
	return inherited(int(fd))
}

// follow reads lines from the Node process: each is a message, as JSON, that something in there wants to send to the
// primary, such as the copy of our output that PM2 shows; only this process may write to the channel. The end is that of
// the Node process, which a kill -9 leaves no other sign of. Then nobody would report our exit, or stop us: the
// channel is closed, and with it Done, as if the primary were gone.
func (w *Worker) follow(wrapper *os.File) {
	defer wrapper.Close()
	r := bufio.NewReader(wrapper)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			w.log.Warn("cluster: the Node process that has adopted this worker is gone", "error", err)
			w.ch.Close()
			return
		}
		var message any
		if err := json.Unmarshal(line, &message); err == nil {
			err = w.ch.Send(context.Background(), message)
		}
		if err != nil {
			w.log.Debug("cluster: message of the Node process that has adopted this worker", "error", err)
		}
	}
}
