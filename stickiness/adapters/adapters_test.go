package adapters

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAdaptersAreValidAndNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range All() {
		if err := a.Validate(); err != nil {
			t.Error(err)
		}
		if seen[a.Name] {
			t.Errorf("%s: there are two", a.Name)
		}
		seen[a.Name] = true
	}
}
