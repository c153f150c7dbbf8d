package analysis

import "fmt"

// Severity says how much an issue matters. The order of the constants is the
// order of importance.
type Severity uint8

// The severities, spelled in lower case in configuration, reports and labels.
const (
	Low Severity = iota
	Medium
	High
	Critical
)

// String returns the severity's name.
func (s Severity) String() string {
	switch s {
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	case Critical:
		return "critical"
	}
	return fmt.Sprintf("Severity(%d)", uint8(s))
}

// ParseSeverity is the inverse of Severity.String.
func ParseSeverity(name string) (Severity, error) {
	for s := Low; s <= Critical; s++ {
		if s.String() == name {
			return s, nil
		}
	}
	return Low, fmt.Errorf("unknown severity %q: use low, medium, high or critical", name)
}

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Severity) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSeverity(string(text))
	return err
}
