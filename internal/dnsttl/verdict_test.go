package dnsttl

import (
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func packed(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exchange is a question and its answer, which has an address.
func exchange(edit func(reply *dnsmessage.Message)) (asked, reply dnsmessage.Message) {
	name := dnsmessage.MustNewName("chat.test.")
	q := dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	asked = dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{q}}
	reply = dnsmessage.Message{
		Header: dnsmessage.Header{ID: 7, Response: true}, Questions: []dnsmessage.Question{q},
		Answers: []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 5}, Body: &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}},
		}},
	}
	edit(&reply)
	return asked, reply
}

// Only a reply to what was asked is heard: UDP may bring others.
func TestOnlyRepliesToTheQuestionAreJudged(t *testing.T) {
	for what, c := range map[string]struct {
		edit func(*dnsmessage.Message)
		ok   bool
	}{
		"it is one":          {func(*dnsmessage.Message) {}, true},
		"spelled otherwise":  {func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("CHAT.test.") }, true},
		"another number":     {func(m *dnsmessage.Message) { m.ID++ }, false},
		"another name":       {func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("evil.test.") }, false},
		"another type":       {func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeAAAA }, false},
		"no question":        {func(m *dnsmessage.Message) { m.Questions = nil }, false},
		"itself a question":  {func(m *dnsmessage.Message) { m.Response = false }, false},
		"the server failed":  {func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure }, false},
		"there is no such":   {func(m *dnsmessage.Message) { m.RCode, m.Answers = dnsmessage.RCodeNameError, nil }, true},
		"the server refuses": {func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeRefused }, false},
	} {
		asked, reply := exchange(c.edit)
		if _, ok := judge(packed(t, asked), packed(t, reply)); ok != c.ok {
			t.Errorf("%s: judged %v", what, ok)
		}
	}
}

func FuzzJudge(f *testing.F) {
	asked, reply := exchange(func(*dnsmessage.Message) {})
	f.Add(packed(f, asked), packed(f, reply))
	f.Fuzz(func(t *testing.T, asked, reply []byte) {
		v, ok := judge(asked, reply)
		if ok && (v.ttl < 0 || v.records && !v.told) {
			t.Errorf("%+v", v)
		}
	})
}
