package discovery

import (
	"strings"
	"testing"
)

func TestKubernetesSaysThatItIsNotSupported(t *testing.T) {
	k := &Kubernetes{Namespace: "prod", Service: "chat", Port: "http"}
	if u := first(t, k); u.Err == nil || !strings.Contains(u.Err.Error(), "not supported yet") || k.String() != "kubernetes prod/chat:http" {
		t.Errorf("%s: %+v", k, u)
	}
}
