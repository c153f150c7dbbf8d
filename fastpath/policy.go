package fastpath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// The flags of a policy.
const (
	policyAllowed = 1 << iota // else all takes the callout
	policyDecided             // on_extproc_loss is deny: what was decided is marked as such
	policyUnkeyed             // requests without a session need no callout
	policyRetry               // what may be repeated is tried once more at its pod
)

// The kinds of source in a policy.
const (
	sourceHeader = 1 + iota
	sourceCookie
	sourceQuery
	sourcePath
	sourceHost
	sourceCallout // for requests with that header or, where it is "", all
)

// sourceStamped is the flag of a source whose values may have the time at which they end.
const sourceStamped = 1

// policyFormat is the first word of a policy.
const policyFormat = 1

// compile writes down what readers need of a service. Numbers are little endian and not
// aligned:
//
//	u32 format = 1 · u32 number of the service · u32 flags · u32 seconds before its end at which a cookie is renewed
//	u32 record of requests without a session · u16 + name · u8 + when bound requests are retried · u8 + when others are
//	u8 sources: { u8 kind · u8 flags · u16 + name · of a path u32 + pattern } · u8 methods that may end a session: { u8 + name }
//
// A service whose responses have to be seen, or whose pods are told the epoch, is left to
// extproc.
func compile(svc statefulroute.Service, number, unbound uint32) ([]byte, error) {
	p := svc.Session
	sources, issued := p.Keys()
	w := &writer{}
	w.u32(policyFormat)
	w.u32(number)
	w.u32(flagsOf(p))
	w.u32(renewSeconds(p.Issue))
	w.u32(unbound)
	w.text16(svc.Name)
	w.text8(wire.RetrySamePodOn)
	w.text8(wire.RetryOn)
	var rows [][]byte
	for i, s := range sources {
		flags := byte(0)
		if i == issued {
			flags = sourceStamped
		}
		some, err := sourceRows(s, flags)
		if err != nil {
			return nil, err
		}
		rows = append(rows, some...)
	}
	w.rows8(rows)
	w.rows8(endMethods(p.End))
	if w.tooLong || len(w.text) > layout.MaxPolicy {
		return nil, errors.New("its policy is too long")
	}
	return w.text, nil
}

func flagsOf(p statefulroute.SessionPolicy) (flags uint32) {
	if p.Shown() {
		flags |= policyAllowed
	}
	if p.OnExtprocLoss == statefulroute.Deny {
		flags |= policyDecided
	}
	if p.Issue == nil {
		flags |= policyUnkeyed
	}
	return flags | policyRetry
}

// renewSeconds is how long before its end a cookie is renewed; 0 is never.
func renewSeconds(c *statefulroute.IssuedCookie) uint32 {
	if c == nil || !c.Renew {
		return 0
	}
	return uint32(min(max((c.TTL/2+time.Second-1)/time.Second, 1), math.MaxUint32))
}

// sourceRows are what readers do for a source: where it is of a kind that they do not know,
// requests that have one of its headers take the callout.
func sourceRows(s statefulroute.SessionSource, flags byte) ([][]byte, error) {
	var fault error
	source := sessionkey.Open(s, func(_, reason string) { fault = fmt.Errorf("session key from %s %q: %s", s.Kind, s.Name, reason) })
	if source == nil {
		return nil, fault
	}
	spec := source.Spec()
	switch spec.Kind {
	case statefulroute.FromHeader:
		if spec.Name == ":authority" {
			return [][]byte{sourceRow(sourceHost, flags, "", nil)}, nil
		}
		return [][]byte{sourceRow(sourceHeader, flags, spec.Name, nil)}, nil
	case statefulroute.FromCookie:
		return [][]byte{sourceRow(sourceCookie, flags, spec.Name, nil)}, nil
	case statefulroute.FromQuery:
		return [][]byte{sourceRow(sourceQuery, flags, spec.Name, nil)}, nil
	case statefulroute.FromPath:
		if program := compilePattern(spec.Name); program != nil {
			return [][]byte{sourceRow(sourcePath, flags, "", program)}, nil
		}
		return [][]byte{sourceRow(sourceCallout, flags, "", nil)}, nil
	}
	var rows [][]byte
	for _, header := range source.RequestHeaders() {
		rows = append(rows, sourceRow(sourceCallout, flags, header, nil))
	}
	return rows, nil
}

func sourceRow(kind, flags byte, name string, program []byte) []byte {
	w := &writer{text: []byte{kind, flags}}
	w.text16(name)
	if kind == sourcePath {
		w.u32(uint32(len(program)))
		w.text = append(w.text, program...)
	}
	if w.tooLong {
		return nil
	}
	return w.text
}

// endMethods are the methods of requests that may end their session.
func endMethods(ends []statefulroute.SessionEnd) (rows [][]byte) {
	var seen []string
	for _, end := range ends {
		if slices.Contains(seen, end.Method) {
			continue
		}
		seen = append(seen, end.Method)
		w := &writer{}
		if w.text8(end.Method); w.tooLong {
			w.text = nil
		}
		rows = append(rows, w.text)
	}
	return rows
}

// writer writes a policy. What does not fit makes it too long.
type writer struct {
	text    []byte
	tooLong bool
}

func (w *writer) u32(v uint32) { w.text = binary.LittleEndian.AppendUint32(w.text, v) }

func (w *writer) text8(s string) {
	w.tooLong = w.tooLong || len(s) > math.MaxUint8
	w.text = append(append(w.text, byte(len(s))), s...)
}

func (w *writer) text16(s string) {
	w.tooLong = w.tooLong || len(s) > math.MaxUint16
	w.text = append(binary.LittleEndian.AppendUint16(w.text, uint16(len(s))), s...)
}

// rows8 writes rows after their number; a row that is nil did not fit.
func (w *writer) rows8(rows [][]byte) {
	w.tooLong = w.tooLong || len(rows) > math.MaxUint8
	w.text = append(w.text, byte(len(rows)))
	for _, row := range rows {
		w.tooLong = w.tooLong || row == nil
		w.text = append(w.text, row...)
	}
}
