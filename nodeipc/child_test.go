//go:build unix

package nodeipc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	roles["scenario"] = func() error { return playScenario(nil) }
	roles["scenario-gc"] = func() error {
		go func() {
			for {
				runtime.GC()
				time.Sleep(time.Millisecond)
			}
		}()
		return playScenario(nil)
	}
	roles["connect"] = tellConnect
	roles["environment"] = tellEnvironment
	roles["last-words"] = lastWords
	roles["linger"] = linger
}

// A command is what parent.js asks of its child; it says there what each means.
type command struct {
	Type, Kind, Host, Path string
	Port                   int
	Part                   string
	N                      int
	Command                []string
}

func (c *command) where() (network, address string) {
	if c.Path != "" {
		return "unix", c.Path
	}
	return "tcp", fmt.Sprintf("%s:%d", c.Host, c.Port)
}

// playScenario is the Go child of parent.js.
func playScenario(opts *Options) error {
	ch, err := Connect(opts)
	if err != nil {
		return err
	}
	defer ch.Close()
	ctx := context.Background()
	listeners := make(map[string]net.Listener)
	for m, err := range ch.Messages(ctx) {
		if err != nil {
			return err
		}
		if err := obey(ctx, ch, m, listeners); err != nil {
			return fmt.Errorf("at %.100s: %w", m.Data, err)
		}
	}
	return nil
}

func obey(ctx context.Context, ch *Channel, m *Message, listeners map[string]net.Listener) error {
	var c command
	if err := m.Decode(&c); err != nil { // not a command
		return ch.Send(ctx, m)
	}
	switch c.Type {
	case "greeting":
		return ch.Send(ctx, map[string]string{"type": "response", "message": "Hi there master!"})
	case "messages":
		for _, v := range []any{"ready", 7, true, nil, []int{1, 2}} {
			if err := ch.Send(ctx, v); err != nil {
				return err
			}
		}
		return nil
	case "run":
		cmd := exec.Command(c.Command[0], c.Command[1:]...)
		out, err := cmd.Output()
		if err != nil && !errors.As(err, new(*exec.ExitError)) {
			return err
		}
		return ch.Send(ctx, map[string]any{"stdout": string(out), "code": cmd.ProcessState.ExitCode()})
	case "pid":
		return ch.Send(ctx, map[string]int{"pid": os.Getpid()})
	case "serve":
		if m.Handle.Type() == NetSocket {
			conn, err := m.Handle.Conn()
			if err != nil {
				return err
			}
			go serve(conn)
			return nil
		}
		ln, err := m.Handle.Listener()
		if err != nil {
			return err
		}
		listeners[c.Kind] = ln
		go serveAll(ln)
		return ch.Send(ctx, m)
	case "close":
		if err := listeners[c.Kind].Close(); err != nil {
			return err
		}
		return ch.Send(ctx, m)
	case "return":
		defer m.Handle.Close()
		return ch.SendHandle(ctx, m, m.Handle)
	case "listen":
		network, address := c.where()
		ln, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		listeners[c.Kind] = ln
		return ch.SendHandle(ctx, m, ln)
	case "dial":
		network, address := c.where()
		conn, err := net.Dial(network, address)
		if err != nil {
			return err
		}
		defer conn.Close()
		return ch.SendHandle(ctx, m, conn)
	case "mixed":
		if m.Handle != nil {
			conn, err := m.Handle.Conn()
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := fmt.Fprintf(conn, "%d\n", c.N); err != nil {
				return err
			}
		}
		return ch.Send(ctx, m)
	case "leave":
		return ch.Disconnect(ctx)
	case "die":
		os.Exit(3)
	}
	return ch.Send(ctx, m)
}

func serveAll(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go serve(conn)
	}
}

func serve(conn net.Conn) {
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil {
		fmt.Fprintf(conn, "echo %s", line)
	}
}

// A connectReport is what the role "connect" prints.
type connectReport struct {
	Error                  string
	NoChannel, Unsupported bool
	Second                 bool // a second Connect is ErrNoChannel
	Left                   []string
	CloseOnExec, Nonblock  bool
	Received               string
}

// channelVariables returns the variables of a channel, and those that begin NODEIPC_TEST_, duplicates included.
func channelVariables() (list []string) {
	for _, kv := range os.Environ() {
		for _, prefix := range []string{envFD, envSerialization, envWorkerID, "NODEIPC_TEST_"} {
			if strings.HasPrefix(kv, prefix) {
				list = append(list, kv)
			}
		}
	}
	return list
}

// tellConnect connects and prints what came of it, and the first message.
func tellConnect() error {
	fd := -1
	fmt.Sscan(os.Getenv(envFD), &fd)
	ch, err := Connect(nil)
	r := connectReport{NoChannel: errors.Is(err, ErrNoChannel), Unsupported: errors.Is(err, errors.ErrUnsupported)}
	_, err2 := Connect(nil)
	r.Second = errors.Is(err2, ErrNoChannel)
	r.Left = channelVariables()
	if err != nil {
		r.Error = err.Error()
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	defer ch.Close()
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
		r.CloseOnExec = flags&unix.FD_CLOEXEC != 0
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil {
		r.Nonblock = flags&unix.O_NONBLOCK != 0
	}
	m, err := ch.Receive(context.Background())
	if err != nil {
		return err
	}
	r.Received = string(m.Data)
	return json.NewEncoder(os.Stdout).Encode(r)
}

// An environmentReport is what the role "environment" sends, and prints when there is no channel.
type environmentReport struct {
	Env   []string
	Files map[string]string // what can be read from the descriptors between 2 and the channel's
}

func tellEnvironment() error {
	r := environmentReport{Files: map[string]string{}}
	r.Env = channelVariables()
	channel := 0
	fmt.Sscan(os.Getenv(envFD), &channel)
	for fd := 3; fd < channel; fd++ {
		var buf [100]byte
		n, err := unix.Pread(fd, buf[:], 0)
		if err != nil {
			return err
		}
		r.Files[fmt.Sprint(fd)] = string(buf[:n])
	}
	ch, err := Connect(nil)
	if errors.Is(err, ErrNoChannel) {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		return err
	}
	defer ch.Close()
	return ch.Send(context.Background(), r)
}

// lastWords sends one message and is gone, without Close, Flush or a pause.
func lastWords() error {
	ch, err := Connect(nil)
	if err != nil {
		return err
	}
	if err := ch.Send(context.Background(), strings.Repeat("last words ", 1000)); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

// linger sends a message and then does nothing but wait for the end, in one of two ways.
func linger() error {
	ch, err := Connect(nil)
	if err != nil {
		return err
	}
	if err := ch.Send(context.Background(), "here"); err != nil {
		return err
	}
	<-ch.Done()
	return nil
}
