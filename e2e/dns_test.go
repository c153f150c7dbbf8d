package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/internal/testdns"
)

// ownFiles is a shell's command that runs what follows it with files of a test's in the
// place of this system's.
const ownFiles = `mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"`

// dnsServed is an xds-server with a resolv.conf and a hosts file of its own.
type dnsServed struct {
	dir, admin string
}

func startDNSServed(t *testing.T, resolv, hosts, services string) *dnsServed {
	t.Helper()
	programs, err := build()
	if err != nil {
		t.Fatal(err)
	}
	r := &dnsServed{t.TempDir(), harness.Address(t)}
	r.write(t, "resolv.conf", resolv)
	r.write(t, "hosts", hosts)
	r.write(t, "xds-server.yaml", fmt.Sprintf("listen: %s\nadmin: %s\nservices:\n%s", harness.Address(t), r.admin, services))
	args := []string{"--mount", "sh", "-c", ownFiles, "sh", r.file("resolv.conf"), r.file("hosts")}
	if out, err := exec.Command("unshare", append(slices.Clone(args), "true")...).CombinedOutput(); err != nil {
		t.Skipf("needs a mount namespace of its own: %v: %s", err, out)
	}
	harness.NewProcess(t, "xds-server", "unshare", append(args, filepath.Join(programs.Dir, "xds-server"), "--config", r.file("xds-server.yaml"))...)
	return r
}

func (r *dnsServed) file(name string) string { return filepath.Join(r.dir, name) }

// write writes in place: the file may be mounted over another.
func (r *dnsServed) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(r.file(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// await waits until a service's pods have these addresses.
func (r *dnsServed) await(t *testing.T, service, want string) {
	t.Helper()
	harness.Eventually(t, harness.Patience, service+" has "+want, func() error {
		var rows []harness.PodRow
		if err := harness.JSON("http://"+r.admin+"/api/v1/services/"+service+"/pods", &rows); err != nil {
			return err
		}
		var pods []string
		for _, p := range rows {
			pods = append(pods, p.Name)
		}
		slices.Sort(pods)
		if got := strings.Join(pods, " "); got != want {
			return fmt.Errorf("it has %q", got)
		}
		return nil
	})
}

// What resolv.conf and the hosts file say goes for pods by DNS, TTLs included: a search
// list, a name server that is silent, another one while all runs.
func TestPodsByDNSAreAskedForAsTheSystemSays(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs port 53 and a mount namespace of its own")
	}
	at := func() string { return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250)) }
	silent, first, second := at(), at(), at()
	nobody, err := net.ListenPacket("udp", silent+":53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nobody.Close() })
	one, two := testdns.NewAt(t, first+":53"), testdns.NewAt(t, second+":53")
	record := func(pod int) [][]string {
		return [][]string{{fmt.Sprintf("chat.east.pods.test. 1 IN A 10.0.0.%d", pod)}}
	}
	one.Set("chat.east.pods.test.", testdns.Name{Answers: record(1)})
	one.Set("still.pods.test.", testdns.Name{Answers: [][]string{{"still.pods.test. 86400 IN A 10.0.0.9"}}})
	two.Set("chat.east.pods.test.", testdns.Name{Answers: record(3)})

	const options = "search pods.test\noptions ndots:2 timeout:1\n"
	pods := func(name, host string) string {
		return fmt.Sprintf("- {name: %s, match: {prefix: /%s}, health_check: {none: true}, pods: {dns: {host: %s, port: 80}, hold: 0s}}\n", name, name, host)
	}
	r := startDNSServed(t, "nameserver "+silent+"\nnameserver "+first+"\n"+options, "10.0.0.7 hosted.test\n",
		pods("chat", "chat.east")+pods("still", "still")+pods("hosted", "hosted.test"))
	r.await(t, "chat", "10.0.0.1:80")
	r.await(t, "still", "10.0.0.9:80")
	r.await(t, "hosted", "10.0.0.7:80")
	one.Set("chat.east.pods.test.", testdns.Name{Answers: record(2)})
	r.await(t, "chat", "10.0.0.2:80")
	r.write(t, "resolv.conf", "nameserver "+second+"\n"+options)
	r.await(t, "chat", "10.0.0.3:80")
	r.write(t, "hosts", "10.0.0.8 hosted.test\n")
	r.await(t, "hosted", "10.0.0.8:80")
	if times := one.Times("still.pods.test."); times > 2 { // a slow machine may see the minute's end
		t.Errorf("a name with a TTL of a day was asked for %d times", times)
	}
}
