package discovery

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"unicode"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
)

// List is a list of pods as people write it: under pods.static, in a pods file, in
// the answer of an HTTP source.
type List []listed

type listed struct {
	Name    string `yaml:"name"`
	Address string `yaml:"address"`
	Weight  *int64 `yaml:"weight"`
	Zone    string `yaml:"zone"`
}

// WhatListIs describes a list to whoever gave something else, with an example behind
// the bar.
const WhatListIs = "a list of pods|- {name: chat-0, address: 127.0.0.1:9101}"

// ReadList reads a file that holds a list of pods.
func ReadList(file string) ([]statefulroute.Pod, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read pods: %w", err)
	}
	return ParseList(file, raw)
}

// ParseList reads a list of pods; name is where it is from.
func ParseList(name string, raw []byte) ([]statefulroute.Pod, error) {
	var list List
	doc, err := strictyaml.Decode(name, raw, &list, strictyaml.Options{List: WhatListIs})
	if err != nil {
		return nil, err
	}
	pods := list.Check(doc, nil)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return pods, nil
}

// Check refuses what cannot be, and returns the pods. They are not nil even where
// there are none, so that "no pods now" differs from "not known".
func (l List) Check(doc *strictyaml.Document, at strictyaml.Path) []statefulroute.Pod {
	pods := make([]statefulroute.Pod, 0, len(l))
	names, addresses := map[string]bool{}, map[netip.AddrPort]string{}
	var sum uint64
	for i := range l {
		where := at.With(i)
		pod := l[i].check(doc, where)
		if names[pod.Name] {
			doc.Refuse(where.With("name"), "pod %q is listed twice", pod.Name)
		}
		names[pod.Name] = true
		if other, ok := addresses[pod.Address]; ok && pod.Address.IsValid() {
			doc.Refuse(where.With("address"), "%s is already the address of pod %q", pod.Address, other)
		}
		addresses[pod.Address] = pod.Name
		sum += uint64(pod.Weight)
		pods = append(pods, pod)
	}
	if sum > math.MaxUint32 {
		doc.Refuse(at, "the weights add up to %d, more than %d", sum, uint32(math.MaxUint32))
	}
	return pods
}

// maxWeight leaves room for the factor by which xds-server scales weights.
const maxWeight = 1_000_000

func (l *listed) check(doc *strictyaml.Document, at strictyaml.Path) statefulroute.Pod {
	pod := statefulroute.Pod{Name: l.Name, Zone: l.Zone}
	if pod.Name == "" || len(pod.Name) > 253 || !printable(pod.Name) {
		doc.Refuse(at.With("name"), "%q must be 1 to 253 bytes of printable text", pod.Name)
	}
	addr, err := netip.ParseAddrPort(l.Address)
	switch {
	case err != nil:
		doc.Refuse(at.With("address"), "%q is not an IP:PORT: for a host name use the dns source", l.Address)
	case addr.Port() == 0:
		doc.Refuse(at.With("address"), "%q has port 0", l.Address)
	case addr.Addr().IsUnspecified() || addr.Addr().Zone() != "":
		doc.Refuse(at.With("address"), "%q is not an address a pod can be reached at", l.Address)
	default:
		pod.Address = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	weight := int64(1)
	if l.Weight != nil {
		weight = *l.Weight
	}
	if weight < 1 || weight > maxWeight {
		doc.Refuse(at.With("weight"), "%d must be 1 to %d: to give a pod nothing, drain it", weight, maxWeight)
		weight = 1
	}
	pod.Weight = uint32(weight)
	return pod
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	return true
}
