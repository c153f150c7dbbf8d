package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/stateful-route/stateful-route/internal/envoybin"
)

// Programs are the executables a stack is made of.
type Programs struct {
	// Dir holds the programs of this repository.
	Dir string
	// Envoy is the program itself, not a launcher script.
	Envoy string
}

// Build builds this repository's programs into dir and finds an Envoy.
func Build(ctx context.Context, dir string, names ...string) (Programs, error) {
	const module = "github.com/stateful-route/stateful-route/cmd/"
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if os.Getenv("E2E_RACE") == "1" {
		args = append(args, "-race")
	}
	for _, name := range names {
		args = append(args, module+name)
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return Programs{}, fmt.Errorf("go build: %w\n%s", err, out)
	}
	bin, err := envoybin.Find(ctx, envoybin.FindOptions{Log: os.Stderr})
	if err != nil {
		return Programs{}, err
	}
	return Programs{Dir: dir, Envoy: bin.Path}, nil
}
