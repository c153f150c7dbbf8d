package strictyaml

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
)

// Duration is a YAML scalar such as 200ms, 30s or 24h.
type Duration time.Duration

// UnmarshalYAML refuses bare numbers: 30 could be seconds or nanoseconds.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	v, err := time.ParseDuration(node.Value)
	if err != nil || node.Kind != yaml.ScalarNode {
		return &yaml.TypeError{Errors: []string{
			fmt.Sprintf("line %d: %q is not a duration such as 200ms, 30s or 24h", node.Line, node.Value)}}
	}
	*d = Duration(v)
	return nil
}

// TextTaker is a list or group for which a text may stand: the text is one of its
// fields, or items.
type TextTaker interface{ TakesText() }

// OneOrMore is a string or a list of strings.
type OneOrMore []string

// TakesText implements TextTaker.
func (*OneOrMore) TakesText() {}

// UnmarshalYAML takes a scalar as a list of one.
func (l *OneOrMore) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*l = OneOrMore{node.Value}
		return nil
	}
	var many []string
	if err := node.Decode(&many); err != nil {
		return err
	}
	*l = many
	return nil
}
