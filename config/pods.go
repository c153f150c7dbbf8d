package config

import (
	"math"
	"net/netip"
	"time"
	"unicode"

	statefulroute "github.com/stateful-route/stateful-route"
)

type rawPods struct {
	Static     *[]rawPod `yaml:"static" is:"a list of pods|- {name: chat-0, address: 127.0.0.1:9101}"`
	File       *string   `yaml:"file"`
	DNS        *rawDNS   `yaml:"dns"`
	Kubernetes *rawKube  `yaml:"kubernetes"`
	Hold       *duration `yaml:"hold"`
}

type rawPod struct {
	Name    string `yaml:"name"`
	Address string `yaml:"address"`
	Weight  *int64 `yaml:"weight"`
	Zone    string `yaml:"zone"`
}

type rawDNS struct {
	Host string `yaml:"host"`
	Port uint16 `yaml:"port"`
}

type rawKube struct {
	Namespace string `yaml:"namespace"`
	Service   string `yaml:"service"`
	Port      string `yaml:"port"`
}

// defaultHold is longer than a source is usually confused: a name server that
// restarts, a list that is generated anew.
const defaultHold = 30 * time.Second

func (raw *rawPods) check(doc *document, at path) statefulroute.PodSource {
	source := raw.checkSource(doc, at)
	if raw.Static == nil {
		source.Hold = orDuration(raw.Hold, defaultHold)
	} else if raw.Hold != nil {
		doc.refuse(at.with("hold"), "a static list is believed at once: hold is for file and dns")
	}
	if source.Hold < 0 {
		doc.refuse(at.with("hold"), "must not be negative")
	}
	return source
}

func (raw *rawPods) checkSource(doc *document, at path) statefulroute.PodSource {
	if n := count(raw.Static != nil, raw.File != nil, raw.DNS != nil, raw.Kubernetes != nil); n != 1 {
		doc.refuse(at, "exactly one of static, file, dns and kubernetes is needed, found %d", n)
		return statefulroute.PodSource{}
	}
	switch {
	case raw.Static != nil:
		return statefulroute.PodSource{Static: checkPods(doc, at.with("static"), *raw.Static)}
	case raw.File != nil:
		if *raw.File == "" {
			doc.refuse(at.with("file"), "must not be empty")
		}
		return statefulroute.PodSource{File: doc.beside(*raw.File)}
	case raw.DNS != nil:
		if raw.DNS.Host == "" || raw.DNS.Port == 0 {
			doc.refuse(at.with("dns"), "host and port are needed")
		}
		return statefulroute.PodSource{DNS: &statefulroute.DNSSource{Host: raw.DNS.Host, Port: raw.DNS.Port}}
	default:
		doc.refuse(at.with("kubernetes"), "this source is not supported yet: use static, file or dns")
		return statefulroute.PodSource{}
	}
}

// listOfPods describes the only file that is a list.
const listOfPods = "a list of pods|- {name: chat-0, address: 127.0.0.1:9101}"

// LoadPods reads a file that holds a list of pods, as pods.static does.
func LoadPods(file string) ([]statefulroute.Pod, error) {
	var raw []rawPod
	doc, err := decodeFile(file, &raw, nil)
	if err != nil {
		return nil, err
	}
	pods := checkPods(doc, path{}, raw)
	if err := doc.err(); err != nil {
		return nil, err
	}
	return pods, nil
}

// checkPods returns a list that is not nil even when empty, so that "no pods
// now" differs from "no source".
func checkPods(doc *document, at path, raw []rawPod) []statefulroute.Pod {
	pods := make([]statefulroute.Pod, 0, len(raw))
	names, addresses := map[string]bool{}, map[netip.AddrPort]string{}
	var sum uint64
	for i := range raw {
		where := at.with(i)
		pod := raw[i].check(doc, where)
		if names[pod.Name] {
			doc.refuse(where.with("name"), "pod %q is listed twice", pod.Name)
		}
		names[pod.Name] = true
		if other, ok := addresses[pod.Address]; ok && pod.Address.IsValid() {
			doc.refuse(where.with("address"), "%s is already the address of pod %q", pod.Address, other)
		}
		addresses[pod.Address] = pod.Name
		sum += uint64(pod.Weight)
		pods = append(pods, pod)
	}
	if sum > math.MaxUint32 {
		doc.refuse(at, "the weights add up to %d, more than %d", sum, uint32(math.MaxUint32))
	}
	return pods
}

// maxWeight leaves room for the factor by which xds-server scales weights.
const maxWeight = 1_000_000

func (raw *rawPod) check(doc *document, at path) statefulroute.Pod {
	pod := statefulroute.Pod{Name: raw.Name, Zone: raw.Zone}
	if pod.Name == "" || len(pod.Name) > 253 || !printable(pod.Name) {
		doc.refuse(at.with("name"), "%q must be 1 to 253 bytes of printable text", pod.Name)
	}
	addr, err := netip.ParseAddrPort(raw.Address)
	switch {
	case err != nil:
		doc.refuse(at.with("address"), "%q is not an IP:PORT: for a host name use the dns source", raw.Address)
	case addr.Port() == 0:
		doc.refuse(at.with("address"), "%q has port 0", raw.Address)
	case addr.Addr().IsUnspecified() || addr.Addr().Zone() != "":
		doc.refuse(at.with("address"), "%q is not an address a pod can be reached at", raw.Address)
	default:
		pod.Address = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	weight := or(raw.Weight, 1)
	if weight < 1 || weight > maxWeight {
		doc.refuse(at.with("weight"), "%d must be 1 to %d: to give a pod nothing, drain it", weight, maxWeight)
		weight = 1
	}
	pod.Weight = uint32(weight)
	return pod
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	return true
}
