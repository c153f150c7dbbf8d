package gateway

import "testing"

func TestPortsAreOfOneRunAlone(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		p, err := NewPorts()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for range 10 {
			a, err := p.Next()
			if err != nil {
				t.Fatal(err)
			}
			if seen[a] {
				t.Errorf("%s twice", a)
			}
			seen[a] = true
		}
	}
}
