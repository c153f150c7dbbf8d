package config

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
)

// duration is a YAML scalar such as 200ms, 30s or 24h.
type duration time.Duration

// UnmarshalYAML refuses bare numbers: 30 could be seconds or nanoseconds.
func (d *duration) UnmarshalYAML(node *yaml.Node) error {
	v, err := time.ParseDuration(node.Value)
	if err != nil || node.Kind != yaml.ScalarNode {
		return &yaml.TypeError{Errors: []string{
			fmt.Sprintf("line %d: %q is not a duration such as 200ms, 30s or 24h", node.Line, node.Value)}}
	}
	*d = duration(v)
	return nil
}

// oneOrMore is a string or a list of strings.
type oneOrMore []string

// UnmarshalYAML takes a scalar as a list of one.
func (l *oneOrMore) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*l = oneOrMore{node.Value}
		return nil
	}
	var many []string
	if err := node.Decode(&many); err != nil {
		return err
	}
	*l = many
	return nil
}

// or returns *v, or the default where the field is absent.
func or[T any](v *T, absent T) T {
	if v == nil {
		return absent
	}
	return *v
}

// orDuration is or for durations.
func orDuration(v *duration, absent time.Duration) time.Duration {
	return time.Duration(or(v, duration(absent)))
}
