//go:build !linux

package grpclimit

import (
	"net"
	"time"
)

func setUserTimeout(net.Conn, time.Duration) {}
