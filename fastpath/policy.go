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
	policyDenies              // on_extproc_loss is deny
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

// The kinds of place where a response may name a session.
const (
	learnHeader = 1 + iota
	learnCookie
	learnAny // whatever the header says, extproc is to look
)

// sourceStamped is the flag of a source whose values may have the time at which they end.
const sourceStamped = 1

// policyFormat is the first word of a policy.
const policyFormat = 2

// compile writes down what readers need of a service. Numbers are little endian and not
// aligned:
//
//	u32 format = 2 · u32 number of the service · u32 flags · u32 seconds before its end at which a cookie is renewed
//	u32 record of requests without a session · u16 + name · u8 + when bound requests are retried · u8 + when others are
//	u8 sources: { u8 kind · u8 flags · u16 + name · of a path u32 + pattern } · u8 methods that may end a session: { u8 + name }
//	u8 places where a response may name one: { u8 kind · u16 + name } · u8 headers of a request that extproc then needs: { u16 + name }
//
// A service whose pods are told the epoch is left to extproc.
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
	if err := w.learning(p.Learn, sources); err != nil {
		return nil, err
	}
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
		flags |= policyDenies
	}
	if p.Issue == nil && len(p.Learn) == 0 {
		flags |= policyUnkeyed
	}
	return flags | policyRetry
}

// learning writes where responses name sessions, and what extproc then reads of the request.
func (w *writer) learning(learn, keys []statefulroute.SessionSource) error {
	var places, headers [][]byte
	if len(learn) > 0 {
		rows, names, err := learnRows(learn)
		if err != nil {
			return err
		}
		of, err := sessionkey.NewReader(keys)
		if err != nil {
			return err
		}
		names = append(names, of.RequestHeaders()...)
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			headers = append(headers, named(nil, name))
		}
		places = rows
	}
	w.rows8(places)
	w.rows8(headers)
	return nil
}

// learnRows are the places, and the headers of requests that hold what is learned there.
func learnRows(learn []statefulroute.SessionSource) (rows [][]byte, headers []string, err error) {
	for _, s := range learn {
		reader, err := sessionkey.NewReader([]statefulroute.SessionSource{s})
		if err != nil {
			return nil, nil, err
		}
		headers = append(headers, reader.RequestHeaders()...)
		switch s.Kind {
		case statefulroute.FromHeader:
			for _, name := range reader.ResponseHeaders() {
				rows = append(rows, named([]byte{learnHeader}, name))
			}
		case statefulroute.FromCookie:
			rows = append(rows, named([]byte{learnCookie}, s.Name))
		default:
			for _, name := range reader.ResponseHeaders() {
				rows = append(rows, named([]byte{learnAny}, name))
			}
		}
	}
	return rows, headers, nil
}

// named is a row that ends with a name; nil for one that is too long.
func named(row []byte, name string) []byte {
	w := &writer{text: row}
	if w.text16(name); w.tooLong {
		return nil
	}
	return w.text
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
