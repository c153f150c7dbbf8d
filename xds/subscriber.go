package xds

import (
	"maps"
	"slices"

	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// subscriber is one stream's interest in a type.
type subscriber struct {
	table  *table
	stream *stream
	sub    cachev3.Subscription
	names  map[string]struct{} // under which it is in byName
	all    bool                // it is in all
	// send answers the standing request; nil: there is none, for the last one was
	// answered and nothing was asked since.
	send func(answer)
	// missed are names that changed while there was none; delta only.
	missed map[string]struct{}
	// held: the standing request is not answered yet, see caches.release.
	held bool
}

// answer is the content of a response.
type answer struct {
	version string
	entries []*entry
	gone    []string
}

// subscribe books which names the subscriber is to hear of.
func (s *subscriber) subscribe(sub cachev3.Subscription) {
	wanted := sub.SubscribedResources()
	for name := range s.names {
		if _, ok := wanted[name]; !ok {
			s.drop(name)
		}
	}
	for name := range wanted {
		if _, ok := s.names[name]; ok {
			continue
		}
		s.names[name] = struct{}{}
		if s.table.byName[name] == nil {
			s.table.byName[name] = map[*subscriber]struct{}{}
		}
		s.table.byName[name][s] = struct{}{}
	}
	// Of secrets a client is given those that he names.
	if s.all = sub.IsWildcard() && s.table.typeURL != resourcev3.SecretType; s.all {
		s.table.all[s] = struct{}{}
	} else {
		delete(s.table.all, s)
	}
}

func (s *subscriber) drop(name string) {
	delete(s.names, name)
	delete(s.table.byName[name], s)
	if len(s.table.byName[name]) == 0 {
		delete(s.table.byName, name)
	}
}

func (s *subscriber) unsubscribe() {
	for name := range s.names {
		s.drop(name)
	}
	delete(s.table.all, s)
	s.send, s.held = nil, false
}

// heard are the names the subscriber hears of: those of resources that there are,
// and those it knows.
func (s *subscriber) heard() []string {
	if !s.all {
		return slices.Sorted(maps.Keys(s.names))
	}
	names := slices.Collect(maps.Keys(s.table.entries))
	for name := range s.sub.ReturnedResources() {
		if _, ok := s.table.entries[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// answerTo is what a standing request is answered with when the names changed.
func (s *subscriber) answerTo(names []string) (a answer, differs bool) {
	if s.stream.key.protocol == protocolSotw {
		return s.sotwChange(names)
	}
	var out answer
	for _, name := range names {
		if e := s.table.entries[name]; e != nil {
			out.entries = append(out.entries, e)
		} else {
			out.gone = append(out.gone, name)
		}
	}
	return out, true
}

// deltaAnswer compares resources with what the client knows.
func (s *subscriber) deltaAnswer(names []string) (a answer, differs bool) {
	known := s.sub.ReturnedResources()
	for _, name := range names {
		version, knows := known[name]
		e := s.table.entries[name]
		switch {
		case e == nil && knows:
			a.gone = append(a.gone, name)
		case e != nil && (!knows || version != e.hash()):
			a.entries = append(a.entries, e)
		}
	}
	return a, len(a.entries)+len(a.gone) > 0
}

// sotwChange is the answer when the names changed. It must tell what is left of
// some types, of the others only what is new: nothing says there that a resource
// is gone.
func (s *subscriber) sotwChange(names []string) (a answer, differs bool) {
	if cachev3.ResourceRequiresFullStateInSotw(s.table.typeURL) {
		return s.sotwAnswer()
	}
	for _, name := range names {
		if e := s.table.entries[name]; e != nil {
			a.entries = append(a.entries, e)
		} else {
			a.gone = append(a.gone, name) // to be sent again should it come back
		}
	}
	return a, len(a.entries) > 0
}

// sotwAnswer compares all resources with what the client was sent.
func (s *subscriber) sotwAnswer() (a answer, differs bool) {
	known := s.sub.ReturnedResources()
	full := cachev3.ResourceRequiresFullStateInSotw(s.table.typeURL)
	for _, name := range s.heard() {
		version, knows := known[name]
		e := s.table.entries[name]
		changed := e != nil && (!knows || version != e.version)
		switch {
		case e == nil && knows:
			a.gone = append(a.gone, name)
			differs = differs || full
		case e != nil && (full || changed):
			a.entries = append(a.entries, e)
			differs = differs || changed
		}
	}
	return a, differs
}
