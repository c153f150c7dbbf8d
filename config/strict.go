package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/stateful-route/stateful-route/balancing"
)

// document is one parsed YAML file: what errors need to name file and line.
type document struct {
	file string
	root *yaml.Node
	errs []error

	strategies      *balancing.Registry
	cacheStrategies []string
	rules           []string // of the program, not the configuration
}

// Option changes what a Load function accepts.
type Option func(*document)

// WithStrategies replaces the balancing strategies a service may name. The
// default is the built-in ones.
func WithStrategies(r *balancing.Registry) Option {
	return func(d *document) { d.strategies = r }
}

// WithCacheStrategies replaces the affinity cache strategies extproc may name.
// The default is the built-in ones.
func WithCacheStrategies(names ...string) Option {
	return func(d *document) { d.cacheStrategies = names }
}

// WithRule names an analyzer rule that the program has of its own: a configured one
// may not have the same name.
func WithRule(name string) Option {
	return func(d *document) { d.rules = append(d.rules, name) }
}

func builtinCacheStrategies() []string { return []string{"lru", "lfu", "ttl", "adaptive"} }

// decodeFile reads file into v (a pointer to a struct of pointers and values
// with yaml tags) and refuses unknown and doubled fields.
func decodeFile(file string, v any, opts []Option) (*document, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	doc := &document{
		file: file, root: &yaml.Node{},
		strategies: balancing.NewRegistry(), cacheStrategies: builtinCacheStrategies(),
	}
	for _, opt := range opts {
		opt(doc)
	}
	err = doc.decode(raw, v)
	return doc, err
}

func (d *document) decode(raw []byte, v any) error {
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(d.root); err != nil {
		return d.yamlError(err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one YAML document", d.file)
	}
	// The library's own complaints about types are not shown: it speaks of Go's.
	// But it comes first, for it knows a file that would unfold to a huge one.
	err := d.root.Decode(v)
	var types *yaml.TypeError
	if err != nil && !errors.As(err, &types) {
		return d.yamlError(err)
	}
	d.shape(path{}, d.root.Content[0], reflect.TypeOf(v).Elem(), listOfPods)
	if refused := d.err(); refused != nil || err == nil {
		return refused
	}
	return d.yamlError(err)
}

var lineError = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// yamlError turns the library's messages into FILE:LINE: reason, one a line.
func (d *document) yamlError(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: the file is empty", d.file)
	}
	var types *yaml.TypeError
	if !errors.As(err, &types) {
		return d.lineError(err.Error())
	}
	errs := make([]error, len(types.Errors))
	for i, text := range types.Errors {
		errs[i] = d.lineError(text)
	}
	return errors.Join(errs...)
}

func (d *document) lineError(text string) error {
	m := lineError.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("%s: %s", d.file, strings.TrimPrefix(text, "yaml: "))
	}
	return fmt.Errorf("%s:%s: %s", d.file, m[1], m[2])
}

// refuse notes an error at a path of field names and list indexes.
func (d *document) refuse(at path, format string, args ...any) {
	d.refuseLine(d.line(at), at, format, args...)
}

// refuseLine is refuse where the line is known.
func (d *document) refuseLine(line int, at path, format string, args ...any) {
	where := fmt.Sprintf("%s:%d: ", d.file, line)
	if len(at) > 0 {
		where += at.String() + ": "
	}
	d.errs = append(d.errs, errors.New(where+fmt.Sprintf(format, args...)))
}

// beside resolves a relative file name against the document's own folder.
func (d *document) beside(file string) string {
	if filepath.IsAbs(file) || file == "" {
		return file
	}
	return filepath.Join(filepath.Dir(d.file), file)
}

// known refuses a value that is not one of the names.
func (d *document) known(at path, value string, names []string) {
	if !slices.Contains(names, value) {
		d.refuse(at, "%q must be one of %s", value, strings.Join(names, ", "))
	}
}

// err returns what was refused, in the order it was found.
func (d *document) err() error { return errors.Join(d.errs...) }

// line returns the line of the deepest node that the path reaches, so that a
// missing field is reported at its parent.
func (d *document) line(at path) int {
	node := d.root
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	line := max(node.Line, 1)
	for _, step := range at {
		child, where := descend(node, step)
		if child == nil {
			break
		}
		node, line = child, where
	}
	return line
}

func descend(node *yaml.Node, step any) (child *yaml.Node, line int) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch s := step.(type) {
	case string:
		for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == s {
				return node.Content[i+1], node.Content[i].Line
			}
		}
	case int:
		if node.Kind == yaml.SequenceNode && s < len(node.Content) {
			return node.Content[s], node.Content[s].Line
		}
	}
	return nil, 0
}

// path leads from the document's root to a field: names and list indexes.
type path []any

func (p path) with(steps ...any) path {
	return append(append(path{}, p...), steps...)
}

func (p path) String() string {
	var b strings.Builder
	for _, step := range p {
		switch s := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", s)
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			fmt.Fprint(&b, s)
		}
	}
	return b.String()
}
