package gateway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports of Ports. A block is somebody's for as long as he listens on its first port.
const (
	firstBlock, lastBlock = 12_000, 15_000
	blockSize             = 20
)

// Ports are addresses that one run alone uses: a gateway listens on some of its own only
// after a while, and again after it was killed, and nobody is to take them meanwhile.
type Ports struct {
	holder net.Listener
	next   int
	end    int
}

// NewPorts finds a block that is nobody's. Close gives it back.
func NewPorts() (*Ports, error) {
	const blocks = (lastBlock - firstBlock) / blockSize
	for _, i := range rand.Perm(blocks) {
		first := firstBlock + i*blockSize
		if l, err := net.Listen("tcp", loopback(first)); err == nil {
			return &Ports{holder: l, next: first + 1, end: first + blockSize}, nil
		}
	}
	return nil, errors.New("ports: no block is free")
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Next is another address of the block that nobody listens on.
func (p *Ports) Next() (string, error) {
	for ; p.next < p.end; p.next++ {
		l, err := net.Listen("tcp", loopback(p.next))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return "", fmt.Errorf("ports: %w", err)
		}
		p.next++
		return loopback(p.next - 1), nil
	}
	return "", errors.New("ports: the block is used up")
}

// Close gives the block back.
func (p *Ports) Close() error { return p.holder.Close() }
