package fleet

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/process"
)

// Node is one gateway: a folder, addresses and what runs.
type Node struct {
	Dir     string
	Address string   // clients'
	More    []string // further free addresses, the product's to use
	Nodes   []*Node  // all of the fleet

	processes []*process.Process
}

// NewNode makes a node's folder below dir, and finds its addresses: the clients', and more.
func NewNode(dir, name string, ports *gateway.Ports, more int) (*Node, error) {
	n := &Node{Dir: filepath.Join(dir, name)}
	for range more + 1 {
		a, err := ports.Next()
		if err != nil {
			return nil, err
		}
		n.More = append(n.More, a)
	}
	n.Address, n.More = n.More[0], n.More[1:]
	if err := os.Mkdir(n.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder of %s: %w", name, err)
	}
	return n, nil
}

// Name is the same over restarts, and different from the other node's.
func (n *Node) Name() string { return filepath.Base(n.Dir) }

// Path is that of a file in the node's folder.
func (n *Node) Path(name string) string { return filepath.Join(n.Dir, name) }

// Write replaces a file of the node's folder in one step.
func (n *Node) Write(name string, text []byte) error {
	file := n.Path(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Run starts a program whose output goes to a log of that name in the node's folder.
// It ends with the node.
func (n *Node) Run(name, path string, args ...string) (*process.Process, error) {
	p, err := process.Start(process.Spec{Path: path, Args: args, Dir: n.Dir, Log: n.Path(name + ".log")})
	if err != nil {
		return nil, err
	}
	n.processes = append(n.processes, p)
	return p, nil
}

// Main is the process that was started last.
func (n *Node) Main() *process.Process { return n.processes[len(n.processes)-1] }

// Running reports whether the node was started and not killed since.
func (n *Node) Running() bool { return len(n.processes) > 0 }

// Err says how the node's last process ended, nil while it runs.
func (n *Node) Err() error {
	if !n.Running() {
		return nil
	}
	return n.Main().Err()
}

// Kill ends all that runs at once.
func (n *Node) Kill() {
	for _, p := range n.processes {
		p.Kill()
	}
	n.processes = nil
}

// Stop ends all that runs.
func (n *Node) Stop(patience time.Duration) {
	for _, p := range n.processes {
		p.Stop(context.Background(), patience)
	}
	n.processes = nil
}

// Until polls as gateway.Poll does, and ends as soon as the node's process has ended.
func (n *Node) Until(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return gateway.Poll(ctx, func(ctx context.Context) error {
		if err := n.Err(); err != nil {
			cancel() // it will not become ready
			return err
		}
		return ready(ctx)
	})
}

// Pod is a gateway.Pod as templates like it.
type Pod struct {
	gateway.Pod
	IP, Port string
	Draining bool
}

// Values are what a configuration is made of.
type Values struct {
	*Node
	Pods   []Pod
	Health gateway.Health
}

// Fill makes a configuration file of a template.
func (n *Node) Fill(name string, t *template.Template, health gateway.Health, pods []gateway.Pod) error {
	v := Values{Node: n, Health: health}
	for _, p := range pods {
		ip, port, err := net.SplitHostPort(p.Address)
		if err != nil {
			return fmt.Errorf("pod %s: %w", p.Name, err)
		}
		v.Pods = append(v.Pods, Pod{p, ip, port, p.State == gateway.Draining})
	}
	return n.Render(name, t, v)
}

// Render makes a file of a template and any values.
func (n *Node) Render(name string, t *template.Template, values any) error {
	var b bytes.Buffer
	if err := t.Execute(&b, values); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return n.Write(name, b.Bytes())
}

// Template parses a configuration's template, which is part of the program. What a later
// text defines takes the place of an earlier one's.
func Template(texts ...string) *template.Template {
	t := template.New("").Funcs(template.FuncMap{
		"ms":      func(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) },
		"seconds": func(d time.Duration) string { return fmt.Sprintf("%gs", d.Seconds()) },
		"port": func(address string) (string, error) {
			_, port, err := net.SplitHostPort(address)
			return port, err
		},
	})
	for _, text := range texts {
		t = template.Must(t.Parse(text))
	}
	return t
}
