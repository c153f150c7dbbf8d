// Command envoy prints the path of the Envoy that the end-to-end tests use,
// installing it when it is not there: compose-test puts it into the image that
// stands in for Envoy's own.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/stateful-route/stateful-route/internal/envoybin"
)

func main() {
	found, err := envoybin.Find(context.Background(), envoybin.FindOptions{Log: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, "stand-in for Envoy's image:", err)
		os.Exit(1)
	}
	fmt.Println(found.Path)
}
