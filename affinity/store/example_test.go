package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/affinity/store"
)

// A table whose bindings outlive the process: process is one that binds a session, if
// it is not bound, and ends.
func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	process := func(pod string) error {
		st, found, err := store.Open(store.Options{Path: filepath.Join(dir, "pins.db")})
		if err != nil {
			return err // not ours to open: locked, no permission
		}
		if found.Damage != nil {
			fmt.Println("the old file is kept as", found.Aside)
		}
		table, err := affinity.New(affinity.Options{Capacity: 100, Journal: st, EpochsAbove: found.EpochsAbove})
		if err != nil {
			return err
		}
		table.Restore(found.Bindings, time.Now())

		b, won, err := table.Claim("chat", "alice", pod, time.Now())
		fmt.Println(b.Pod, won, err)

		ctx, stop := context.WithCancel(context.Background())
		stop() // the end of the process: the rest is written
		return st.Run(ctx, table.All())
	}
	fmt.Println(process("chat-0"))
	fmt.Println(process("chat-1"))
	// Output:
	// chat-0 true <nil>
	// <nil>
	// chat-0 false <nil>
	// <nil>
}
