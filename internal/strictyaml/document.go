// Package strictyaml reads YAML and refuses whatever is unknown, doubled or of another
// form than its field, with the file, the line and the reason, in the words of the
// file.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Document is one parsed YAML file: what errors need to name file and line.
type Document struct {
	file string
	root *yaml.Node
	errs []error
	late map[reflect.Type]reflect.Type
}

// Options say what Decode cannot see in Go's types.
type Options struct {
	// List describes a file that is a list: what it is of, and an example behind a bar.
	List string
	// Late has, for each type whose fields are decoded later, a type that has the
	// fields.
	Late map[reflect.Type]reflect.Type
}

// Decode reads a file's text into v, a pointer to a struct or a list whose fields
// have yaml tags, and refuses unknown and doubled fields.
func Decode(file string, raw []byte, v any, o Options) (*Document, error) {
	d := &Document{file: file, root: &yaml.Node{}, late: o.Late}
	err := d.decode(raw, v, o.List)
	return d, err
}

// DecodeLate decodes a part of the document into v, a pointer to the type that
// Options.Late has for it. What Decode found good is not refused.
func (d *Document) DecodeLate(at Path, node *yaml.Node, v any) {
	if err := node.Decode(v); err != nil {
		d.refuseLine(node.Line, at, "cannot be read: %v", err)
	}
}

func (d *Document) decode(raw []byte, v any, list string) error {
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
	d.shape(Path{}, d.root.Content[0], reflect.TypeOf(v).Elem(), list)
	if refused := d.Err(); refused != nil || err == nil {
		return refused
	}
	return d.yamlError(err)
}

var lineError = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// yamlError turns the library's messages into FILE:LINE: reason, one a line.
func (d *Document) yamlError(err error) error {
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

func (d *Document) lineError(text string) error {
	m := lineError.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("%s: %s", d.file, strings.TrimPrefix(text, "yaml: "))
	}
	return fmt.Errorf("%s:%s: %s", d.file, m[1], m[2])
}

// Refuse notes an error at a path of field names and list indexes.
func (d *Document) Refuse(at Path, format string, args ...any) {
	d.refuseLine(d.line(at), at, format, args...)
}

// refuseLine is Refuse where the line is known.
func (d *Document) refuseLine(line int, at Path, format string, args ...any) {
	where := fmt.Sprintf("%s:%d: ", d.file, line)
	if len(at) > 0 {
		where += at.String() + ": "
	}
	d.errs = append(d.errs, errors.New(where+fmt.Sprintf(format, args...)))
}

// Beside resolves a relative file name against the document's own folder.
func (d *Document) Beside(file string) string {
	if filepath.IsAbs(file) || file == "" {
		return file
	}
	return filepath.Join(filepath.Dir(d.file), file)
}

// Known refuses a value that is not one of the names.
func (d *Document) Known(at Path, value string, names []string) {
	if !slices.Contains(names, value) {
		d.Refuse(at, "%q must be one of %s", value, strings.Join(names, ", "))
	}
}

// Err returns what was refused, in the order it was found.
func (d *Document) Err() error { return errors.Join(d.errs...) }

// line returns the line of the deepest node that the path reaches, so that a
// missing field is reported at its parent.
func (d *Document) line(at Path) int {
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

// Path leads from the document's root to a field: names and list indexes.
type Path []any

// With returns the path that goes on with the steps.
func (p Path) With(steps ...any) Path {
	return append(append(Path{}, p...), steps...)
}

func (p Path) String() string {
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
