package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/xds/discovery"
)

// inGo is what no message may hold: names of Go's types and YAML's tags.
var inGo = regexp.MustCompile(`!!|\bconfig\.|\braw[A-Z]|\bu?int(8|16|32|64)?\b|\bfloat(32|64)\b|\bbool\b|\bstring\b|\bstruct\b|\bmap\[|\[\]|\*\w|unmarshal`)

// field is one field of a file: how it is reached, with "[]" for an item of a
// list, and what it is in Go.
type field struct {
	steps []string
	t     reflect.Type
}

// fieldsBelow lists all fields of a file's Go type, at any depth.
func fieldsBelow(t reflect.Type, steps []string) []field {
	if t.Kind() == reflect.Pointer {
		return fieldsBelow(t.Elem(), steps)
	}
	if t == reflect.TypeFor[rawPods]() {
		t = podFields(discovery.NewRegistry().Kinds())
	}
	if t == reflect.TypeFor[rawSource]() {
		t = sourceFields()
	}
	out := []field{{steps, t}}
	switch {
	case t == reflect.TypeFor[duration]():
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			out = append(out, fieldsBelow(t.Field(i).Type, append(slices.Clone(steps), t.Field(i).Tag.Get("yaml")))...)
		}
	case t.Kind() == reflect.Slice:
		out = append(out, fieldsBelow(t.Elem(), append(slices.Clone(steps), "[]"))...)
	}
	return out
}

// document returns a file that has value for the field, in a line of its own,
// and the field's name in messages.
func (f field) document(value string) (text, name string) {
	open, closing := "", ""
	for _, step := range f.steps {
		if step == "[]" {
			open, closing, name = open+"[", "]"+closing, name+"[0]"
			continue
		}
		open, closing, name = open+"{"+step+": ", "}"+closing, strings.TrimPrefix(name+"."+step, ".")
	}
	return open + "\n " + value + "\n" + closing + "\n", name
}

// Whatever is given for whatever field, the message names file, line and field,
// and says what is needed in the words of the file.
func TestMessagesSpeakOfTheFile(t *testing.T) {
	dir := t.TempDir()
	values := map[string]string{ // by kind
		"text": "nonsense", "quoted": `"true"`, "bool": "true", "whole": "7", "fraction": "1.5", "list": "[nonsense]", "lists": "[[1]]", "group": "{nonsense: 1}",
		"huge": "99999999999999999999999", "negative": "-3",
	}
	for _, kind := range []struct {
		root reflect.Type
		load func(string) error
	}{
		{reflect.TypeFor[rawXDSServer](), func(f string) error { _, err := LoadXDSServer(f); return err }},
		{reflect.TypeFor[rawExtproc](), func(f string) error { _, err := LoadExtproc(f); return err }},
		{reflect.TypeFor[discovery.List](), func(f string) error { _, err := discovery.ReadList(f); return err }},
	} {
		fields := fieldsBelow(kind.root, nil)
		if len(fields) < 5 {
			t.Fatalf("%v: %d fields", kind.root, len(fields))
		}
		for i, f := range fields {
			for what, value := range values {
				text, name := f.document(value)
				file := filepath.Join(dir, fmt.Sprintf("%d-%s.yaml", i, what))
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				err := kind.load(file)
				if err == nil {
					if !f.takes(what) {
						t.Errorf("%s: %s was taken", name, value)
					}
					continue
				}
				message := strings.ReplaceAll(err.Error(), file, "FILE")
				if found := inGo.FindString(strings.ReplaceAll(message, "- {", "")); found != "" {
					t.Errorf("%s: %s: it speaks of %q: %s", name, value, found, message)
				}
				if !f.takes(what) && !regexp.MustCompile(`(?m)^FILE:\d+: `+regexp.QuoteMeta(name)).MatchString(message) {
					t.Errorf("%s: %s: no file, line and field: %s", name, value, message)
				}
				if !f.takes(what) && strings.Contains(message, "such as \n") {
					t.Errorf("%s has no example: %s", name, message)
				}
			}
		}
	}
}

// takes reports whether a value is of the form that the field has; it may be
// refused all the same.
func (f field) takes(what string) bool {
	switch {
	case f.t == reflect.TypeFor[duration]():
		return false
	case f.t == reflect.TypeFor[oneOrMore]():
		return what != "group" && what != "lists"
	case f.t == reflect.TypeFor[rawListeners]():
		return what != "group" // what the items are of, is for them
	case f.t == reflect.TypeFor[rawListener]():
		return what != "group" && what != "list" && what != "lists"
	case f.t.Kind() == reflect.String:
		return what != "list" && what != "lists" && what != "group"
	case f.t.Kind() == reflect.Bool:
		return what == "bool"
	case f.t.Kind() == reflect.Float64:
		return slices.Contains([]string{"whole", "fraction", "huge", "negative"}, what)
	case f.t.Kind() == reflect.Int, f.t.Kind() == reflect.Int64:
		return what == "whole" || what == "negative"
	case f.t.Kind() == reflect.Uint16, f.t.Kind() == reflect.Uint32:
		return what == "whole"
	case f.t.Kind() == reflect.Slice:
		return what == "list" || what == "lists" // what they are of, is for their items
	}
	return what == "group" && f.t.Kind() == reflect.Map
}

func TestFormsThatAreTaken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	for name, text := range map[string]string{
		"merge keys":      "services:\n  - &base {name: a, match: {prefix: /a}, pods: {static: []}}\n  - {<<: *base, name: b, match: {prefix: /b}}\n",
		"aliases":         "admin: &here 127.0.0.1:1\nlisten: *here\nservices: [{name: a, pods: {static: []}}]\n",
		"a merged group":  "services:\n  - {name: a, match: {prefix: /a}, pods: &p {file: x, hold: 1s}}\n  - {name: b, match: {prefix: /b}, pods: *p}\n  - {name: c, match: {prefix: /c}, pods: {<<: *p, hold: 2s}}\n",
		"nulls":           "admin: null\nenvoy: ~\nservices: [{name: a, session: ~, pods: {static: [], file: null}}]\n",
		"yes and a digit": "envoy: {debug_headers: yes}\nservices: [{name: 7, pods: {static: [{name: true, address: 127.0.0.1:1, weight: 0x10}]}}]\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadXDSServer(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file that unfolds to a huge one is refused before it is looked at closely.
func TestAliasesDoNotBlowUp(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "admin_hosts: &a0 [%s]\n", strings.Repeat("x,", 100))
	for i := range 9 {
		fmt.Fprintf(&b, "x%d: &a%d [%s]\n", i, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 100), ","))
	}
	file := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadXDSServer(file); err == nil {
		t.Error("accepted")
	}
}

func TestHoldHasADefaultAndAZero(t *testing.T) {
	for text, want := range map[string]time.Duration{"file: x": 30 * time.Second, "file: x, hold: 0s": 0, "dns: {host: x, port: 1}, hold: 5m": 5 * time.Minute} {
		file := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(file, []byte("services: [{name: chat, pods: {"+text+"}}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadXDSServer(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Services[0].Pods.Hold; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
