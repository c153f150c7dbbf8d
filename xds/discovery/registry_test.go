package discovery

import "testing"

func TestAKindIsRegisteredOnce(t *testing.T) {
	r := NewRegistry()
	mine := Kind{"mine", func() Config { return new(File) }}
	if err := r.Register(mine); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []Kind{mine, {"dns", mine.Config}, {"static", mine.Config}, {"hold", mine.Config}, {"", mine.Config}, {"other", nil}} {
		if err := r.Register(bad); err == nil {
			t.Errorf("%q was registered", bad.Name)
		}
	}
	if kinds := r.Kinds(); len(kinds) != 5 || kinds[4].Name != "mine" {
		t.Errorf("kinds: %v", kinds)
	}
	if len(NewRegistry().Kinds()) != 4 {
		t.Error("registries share their kinds")
	}
}
