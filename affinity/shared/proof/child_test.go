package proof_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
)

// child is a replica's process as the driver has it.
type child struct {
	settings
	cmd  *exec.Cmd
	in   io.WriteCloser
	read sync.WaitGroup
	note func(name string, r record)

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan answer
	gone    bool
	up      chan struct{}
}

// startChild starts a replica; note is told what it saw of the store.
func startChild(t *testing.T, s settings, log io.Writer, note func(string, record)) *child {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{settings: s, note: note, waiting: map[uint64]chan answer{}, up: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0]) //nolint:gosec // this program
	c.cmd.Env = append(os.Environ(), replicaVariable+"="+string(text), "GOMAXPROCS=2")
	c.cmd.Stderr = log
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.read.Go(func() { c.listen(out) })
	<-c.up
	return c
}

// listen hands out answers until the process is gone.
func (c *child) listen(out io.Reader) {
	lines := bufio.NewScanner(out)
	up := sync.OnceFunc(func() { close(c.up) })
	defer up()
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			break // killed while it wrote
		}
		if a.Event != nil {
			if a.Event.Kind == "up" {
				up()
			}
			c.note(c.Name, *a.Event)
			continue
		}
		c.mu.Lock()
		to := c.waiting[a.ID]
		delete(c.waiting, a.ID)
		c.mu.Unlock()
		to <- a
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for _, to := range c.waiting {
		to <- answer{How: howUnknown, Error: "the replica was killed"}
	}
	c.waiting = nil
}

// do sends a command and waits for its answer, which says howUnknown if the process was
// killed meanwhile. It reports false if it is gone already.
func (c *child) do(cmd command) (answer, bool) {
	to := make(chan answer, 1)
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return answer{}, false
	}
	c.last++
	cmd.ID = c.last
	c.waiting[cmd.ID] = to
	c.mu.Unlock()
	line, err := json.Marshal(cmd)
	if err != nil {
		panic(fmt.Sprint(err)) // commands always encode
	}
	// Where it cannot be written the process is gone, which listen sees.
	_, _ = c.in.Write(append(line, '\n'))
	return <-to, true
}

func (c *child) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) } // fails only for one that is gone

// kill ends the process at once.
func (c *child) kill() {
	c.signal(syscall.SIGKILL)
	c.read.Wait()
	_ = c.cmd.Wait() // it was killed
	_ = c.in.Close()
}
