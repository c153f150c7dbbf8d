package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOutputIsLoggedAndTheEndSeen(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := Start(Spec{Path: "sh", Args: []string{"-c", "echo $WORD; exit 3"}, Env: []string{"WORD=hello"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("err %v", err)
	}
	if b, err := os.ReadFile(log); err != nil || string(b) != "hello\n" {
		t.Errorf("log %q, %v", b, err)
	}
}

// A child of the child holds the pipe open until it, too, is gone.
func TestKillEndsTheGroup(t *testing.T) {
	for name, end := range map[string]func(*Process){
		"kill":           (*Process).Kill,
		"stop":           func(p *Process) { p.Stop(t.Context(), time.Minute) },
		"kill of paused": func(p *Process) { p.Pause(); p.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			fifo := filepath.Join(t.TempDir(), "log")
			p, err := Start(Spec{Path: "sh", Args: []string{"-c", "sleep 600 & wait"}, Log: fifo})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Err(); err != nil {
				t.Error(err)
			}
			end(p)
			if p.Err() == nil {
				t.Error("it still runs")
			}
		})
	}
}
