package discovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// podsFile is a file's text that lists pods.
func podsFile(names string) string {
	var b strings.Builder
	for i, name := range strings.Fields(names) {
		fmt.Fprintf(&b, "- {name: %s, address: '127.0.0.1:%d'}\n", name, i+1)
	}
	if b.Len() == 0 {
		return "[]\n"
	}
	return b.String()
}

// replace writes a file in one step.
func replace(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o600), os.Rename(file+".new", file)); err != nil {
		t.Fatal(err)
	}
}

func TestAPodsFileIsFollowedAndABadOneKeepsTheLast(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pods.yaml")
	s, b := newManager(t, nil)
	chat := fromFile("chat", file)
	var bad *SourcesError
	if err := b.change(t, s, chat); !errors.As(err, &bad) || !slices.Equal(bad.Files, []string{file}) || !strings.Contains(err.Error(), `pods of service "chat"`) {
		t.Errorf("a missing file: %v", err)
	}
	replace(t, file, podsFile("a"))
	b.mustChange(t, s, chat)
	if got := b.of("chat"); got != "a" {
		t.Fatalf("at first: %s", got)
	}
	replace(t, file, "- {name: a, address: nowhere}\n")
	await(t, "the bad file to show", func() bool { return s.state("chat") == "stale" })
	if status := s.Status("chat"); !strings.Contains(status.Error, "nowhere") || status.Restored || !strings.Contains(status.Note(), "last good list") {
		t.Errorf("status: %+v, %s", status, status.Note())
	}
	replace(t, file, podsFile("a b"))
	await(t, "the second list", func() bool { return b.of("chat") == "a b" && s.state("chat") == "good" })
}

// What a file holds while it is written is not read, however long that takes: it
// is empty, and then a list of one pod, of two, and so on.
func TestAFileThatIsBeingWrittenIsNotRead(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pods.yaml")
	replace(t, file, podsFile("a b c d e f"))
	s, b := newManager(t, nil)
	chat := fromFile("chat", file)
	chat.Pods.Hold = 0 // nothing else protects
	var seen sync.Map
	s.Set = func(ctx context.Context, service string, from statefulroute.PodSource, pods []statefulroute.Pod) error {
		seen.Store(names(pods), true)
		return b.set(ctx, service, from, pods)
	}
	b.mustChange(t, s, chat)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for line := range strings.Lines(podsFile("a b c d e f g")) { // each a whole list
		if _, err := f.WriteString(line); err != nil {
			t.Fatal(err)
		}
		// Longer than a file is to be left alone that was replaced, and by far not as long
		// as one that is written.
		<-time.After(100 * time.Millisecond)
	}
	await(t, "the whole list", func() bool { return b.of("chat") == "a b c d e f g" })
	seen.Range(func(list, _ any) bool {
		if list != "a b c d e f g" {
			t.Errorf("%q was read", list)
		}
		return true
	})
}

// A file is emptied in every way: the pods stay, and whoever gave the order or
// mended the file sees it at once.
func TestAnEmptiedFileIsHeld(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, state string }{
		"empty list": {"[]\n", "held"},
		"one of six": {podsFile("a"), "held"},
		"null":       {"null\n", "stale"},
		"no text":    {"", "stale"},
		"cut off":    {podsFile("a b c d e f")[:50], "stale"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pods.yaml")
			replace(t, file, podsFile("a b c d e f"))
			s, b := newManager(t, nil)
			b.mustChange(t, s, fromFile("chat", file))
			replace(t, file, c.text)
			await(t, c.state, func() bool { return s.state("chat") == c.state })
			if got := len(strings.Fields(b.of("chat"))); got != 6 {
				t.Errorf("%d pods are left: %s", got, b.of("chat"))
			}
			if note := s.Status("chat").Note(); note == "" {
				t.Error("nothing is said of it")
			}
			replace(t, file, podsFile("a b c d e f"))
			await(t, "good", func() bool { return s.state("chat") == "good" })
		})
	}
}

// A source that says nothing again, such as a file, is believed in time.
func TestAFileIsBelievedInTimeWithoutAnotherChange(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pods.yaml")
	replace(t, file, podsFile("a b c"))
	s, b := newManager(t, nil)
	chat := fromFile("chat", file)
	chat.Pods.Hold = 300 * time.Millisecond
	b.mustChange(t, s, chat)
	replace(t, file, podsFile("c"))
	await(t, "the hold's end", func() bool { return b.of("chat") == "c" && s.state("chat") == "good" })
}
