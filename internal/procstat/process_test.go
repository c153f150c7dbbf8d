package procstat_test

import (
	"os"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/internal/procstat"
)

func TestOfAProcess(t *testing.T) {
	before, err := procstat.Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.Private < 1<<20 {
		t.Errorf("a test uses %d bytes", before.Private)
	}
	// It returns as soon as the kernel's clock has counted what this burns.
	for began := time.Now(); ; {
		after, err := procstat.Of(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after.CPU > before.CPU {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatal("a minute of work took no CPU time")
		}
	}
}

func TestOfNoProcess(t *testing.T) {
	if _, err := procstat.Of(1 << 30); err == nil {
		t.Error("there is a process of that number")
	}
}
