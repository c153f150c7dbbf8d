package config_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/stateful-route/stateful-route/config"
)

func ExampleLoadXDSServer() {
	dir, err := os.MkdirTemp("", "config")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "xds-server.yaml")
	text := "services:\n  - name: chat\n    pods:\n      static:\n        - {name: chat-0, address: \"chat.internal:80\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	_, err = config.LoadXDSServer(file)
	fmt.Println(err.Error()[len(dir)+1:])
	// Output: xds-server.yaml:5: services[0].pods.static[0].address: "chat.internal:80" is not an IP:PORT: for a host name use the dns source
}
