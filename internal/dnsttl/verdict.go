package dnsttl

import (
	"math"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// verdict is what a reply says of the name that was asked for.
type verdict struct {
	records   bool // it has addresses
	ttl       time.Duration
	told      bool
	truncated bool
}

// judge reads a reply. It is not ok unless it is one to what was asked, and says that
// there are addresses, or that there are none.
func judge(asked, reply []byte) (v verdict, ok bool) {
	var q, r dnsmessage.Parser
	ask, err := q.Start(asked)
	if err != nil {
		return v, false
	}
	head, err := r.Start(reply)
	if err != nil || !head.Response || head.ID != ask.ID {
		return v, false
	}
	want, err := q.Question()
	if err != nil {
		return v, false
	}
	got, err := r.Question()
	if err != nil || got.Type != want.Type || got.Class != want.Class || !strings.EqualFold(got.Name.String(), want.Name.String()) {
		return v, false
	}
	if r.SkipAllQuestions() != nil {
		return v, false
	}
	v.truncated = head.Truncated
	return v, (head.RCode == dnsmessage.RCodeSuccess || head.RCode == dnsmessage.RCodeNameError) && v.read(&r, want.Type)
}

// read takes the lowest TTL of the answer: an alias that changes is another answer. One
// without addresses is true for as long as the SOA record of its zone says (RFC 2308, 5).
func (v *verdict) read(r *dnsmessage.Parser, want dnsmessage.Type) (ok bool) {
	for {
		h, err := r.AnswerHeader()
		if err == dnsmessage.ErrSectionDone { //nolint:errorlint // the parser never wraps it
			break
		}
		if err != nil || r.SkipAnswer() != nil {
			return false
		}
		v.lower(h.TTL)
		v.records = v.records || h.Type == want
	}
	if v.records {
		return true
	}
	zone := false // an alias alone says nothing of the name that it leads to
	for {
		h, err := r.AuthorityHeader()
		if err != nil {
			v.told = zone
			return err == dnsmessage.ErrSectionDone //nolint:errorlint // the parser never wraps it
		}
		if h.Type != dnsmessage.TypeSOA {
			if r.SkipAuthority() != nil {
				return false
			}
			continue
		}
		soa, err := r.SOAResource()
		if err != nil {
			return false
		}
		v.lower(h.TTL)
		v.lower(soa.MinTTL)
		zone = true
	}
}

// lower makes a TTL the verdict's if it is the lowest. One with the highest bit set is 0
// (RFC 2181, 8).
func (v *verdict) lower(seconds uint32) {
	if seconds > math.MaxInt32 {
		seconds = 0
	}
	if ttl := time.Duration(seconds) * time.Second; !v.told || ttl < v.ttl {
		v.ttl, v.told = ttl, true
	}
}
