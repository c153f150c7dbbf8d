package sessionkey

import (
	"strings"
	"time"
)

// setCookie is what a Set-Cookie header says, as user agents read it (RFC 6265, 5.2).
type setCookie struct {
	name, value  string
	domain, path string // of which a client keeps one value for each name
	// maxAge has precedence over expires; nil and the zero time where they are absent.
	maxAge  *bool // whether it is more than 0
	expires time.Time
}

func parseSetCookie(header string) setCookie {
	pair, attributes, _ := strings.Cut(header, ";")
	var c setCookie
	c.name, c.value = cookiePair(pair)
	for attribute := range strings.SplitSeq(attributes, ";") {
		name, value := cookiePair(attribute)
		switch strings.ToLower(name) {
		case "domain":
			c.domain = strings.ToLower(strings.TrimPrefix(value, "."))
		case "path":
			c.path = value
			if !strings.HasPrefix(value, "/") {
				c.path = "" // the request's own directory
			}
		case "max-age":
			c.maxAge = nil // browsers go by the last one, whatever it says
			if lives, ok := parseMaxAge(value); ok {
				c.maxAge = &lives
			}
		case "expires":
			if t, ok := parseCookieDate(value); ok {
				c.expires = t
			}
		}
	}
	return c
}

// replaces reports whether a client that kept the other cookie has this one in its
// place.
func (c setCookie) replaces(o setCookie) bool { return c.domain == o.domain && c.path == o.path }

// deletedAt reports whether a client has no use for the cookie: a pod that ends a
// session does not create one.
func (c setCookie) deletedAt(now time.Time) bool {
	if c.maxAge != nil {
		return !*c.maxAge
	}
	return !c.expires.IsZero() && !c.expires.After(now)
}

// parseMaxAge reports whether so many seconds, however many, are more than 0.
func parseMaxAge(text string) (lives, ok bool) {
	digits, negative := strings.CutPrefix(text, "-")
	if !negative {
		digits = strings.TrimPrefix(text, "+")
	}
	if strings.Trim(digits, "0123456789") != "" || digits == "" {
		return false, false
	}
	return !negative && strings.Trim(digits, "0") != "", true
}

// parseCookieDate reads a date in whatever order its parts are (RFC 6265, 5.1.1). One
// before 1601, which the RFC leaves out, is in the past to browsers.
func parseCookieDate(text string) (t time.Time, ok bool) {
	var d cookieDate
	for token := range strings.FieldsFuncSeq(text, isDateDelimiter) {
		d.take(token)
	}
	if !d.haveTime || !d.haveDay || d.month == 0 || !d.haveYear || d.hour > 23 || d.minute > 59 || d.second > 59 {
		return t, false
	}
	t = time.Date(d.year, d.month, d.day, d.hour, d.minute, d.second, 0, time.UTC)
	return t, t.Day() == d.day && d.day > 0 // there is no 30 February
}

// cookieDate is what was found of a date so far.
type cookieDate struct {
	haveTime, haveDay, haveYear bool
	hour, minute, second        int
	day, year                   int
	month                       time.Month
}

// take takes a token for the first part of a date that it can be and that was not
// found before.
func (d *cookieDate) take(token string) {
	if !d.haveTime && d.takeTime(token) {
		return
	}
	n, digits := leadingNumber(token)
	if !d.haveDay && (digits == 1 || digits == 2) {
		d.day, d.haveDay = n, true
		return
	}
	if d.month == 0 && len(token) >= 3 {
		if i := strings.Index("janfebmaraprmayjunjulaugsepoctnovdec", strings.ToLower(token[:3])); i >= 0 && i%3 == 0 {
			d.month = time.Month(i/3 + 1)
			return
		}
	}
	if !d.haveYear && digits >= 2 && digits <= 4 {
		d.year, d.haveYear = fullYear(n), true
	}
}

// fullYear takes two digits for a year from 1970 to 2069.
func fullYear(n int) int {
	switch {
	case n >= 70 && n <= 99:
		return n + 1900
	case n < 70:
		return n + 2000
	}
	return n
}

func (d *cookieDate) takeTime(token string) bool {
	hours, rest, _ := strings.Cut(token, ":")
	minutes, seconds, found := strings.Cut(rest, ":")
	h, hn := leadingNumber(hours)
	m, mn := leadingNumber(minutes)
	s, sn := leadingNumber(seconds)
	if !found || hn != len(hours) || mn != len(minutes) || max(hn, mn, sn) > 2 || min(hn, mn, sn) == 0 {
		return false
	}
	d.haveTime, d.hour, d.minute, d.second = true, h, m, s
	return true
}

// leadingNumber returns the number that a text begins with, and how many digits it has;
// of one with more than four, that only.
func leadingNumber(text string) (n, digits int) {
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		if digits < 4 {
			n = 10*n + int(text[digits]-'0')
		}
		digits++
	}
	return n, digits
}

// isDateDelimiter reports what is between the parts of a date.
func isDateDelimiter(r rune) bool {
	return r == '\t' || r >= 0x20 && r <= 0x2f || r >= 0x3b && r <= 0x40 || r >= 0x5b && r <= 0x60 || r >= 0x7b && r <= 0x7e
}
