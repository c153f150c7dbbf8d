package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
)

// command asks the runtime API of a node's worker.
func command(ctx context.Context, n *fleet.Node, text string) (string, error) {
	return ask(ctx, n.Path(socket), text)
}

// ask asks at a socket, and says that this is all: a master waits for more otherwise.
func ask(ctx context.Context, socket, text string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return "", err
	}
	c := conn.(*net.UnixConn)
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(c, text+"\n"); err != nil {
		return "", fmt.Errorf("%s: %w", text, err)
	}
	if err := c.CloseWrite(); err != nil {
		return "", fmt.Errorf("%s: %w", text, err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return "", fmt.Errorf("%s: %w", text, err)
	}
	return strings.TrimSpace(string(answer)), nil
}

// pid is that of the worker that answers.
func pid(ctx context.Context, n *fleet.Node) (string, error) {
	answer, err := command(ctx, n, "show info")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(answer) {
		if v, ok := strings.CutPrefix(line, "Pid: "); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", errors.New("show info: no Pid")
}
