package strictyaml

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// shape refuses what has another form than the field it is given for: a text
// where a list is needed, an unknown field, 1.5 where numbers are whole. It says
// what is needed in the words of the file, which the YAML library cannot: it
// knows only the Go types. A null is the same as no field at all.
//
// is describes a list: what it is of, and an example behind a bar.
func (d *Document) shape(at Path, node *yaml.Node, t reflect.Type, is string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if late, ok := d.late[t]; ok {
		t = late
	}
	if node.ShortTag() == "!!null" && len(at) > 0 {
		return
	}
	switch {
	case t.Kind() == reflect.Pointer:
		d.shape(at, node, t.Elem(), is)
	case t == reflect.TypeFor[Duration]():
		d.scalarShape(at, node, t)
	case node.Kind == yaml.ScalarNode && reflect.PointerTo(t).Implements(reflect.TypeFor[TextTaker]()): // as a list or group of one
	case t.Kind() == reflect.Struct:
		d.groupShape(at, node, t)
	case t.Kind() == reflect.Slice:
		d.listShape(at, node, t, is)
	case t.Kind() == reflect.Map:
		if node.Kind != yaml.MappingNode {
			d.refuseLine(node.Line, at, "a group of settings is needed")
		}
	default:
		d.scalarShape(at, node, t)
	}
}

func (d *Document) listShape(at Path, node *yaml.Node, t reflect.Type, is string) {
	if node.Kind != yaml.SequenceNode {
		what, example, _ := strings.Cut(is, "|")
		d.refuseLine(node.Line, at, "%s is needed, such as %s", what, example)
		return
	}
	for i, item := range node.Content {
		d.shape(at.With(i), item, t.Elem(), "")
	}
}

// groupShape also takes YAML's merge keys.
func (d *Document) groupShape(at Path, node *yaml.Node, t reflect.Type) {
	fields, names := fieldsOf(t)
	if node.Kind != yaml.MappingNode {
		d.refuseLine(node.Line, at, "a group of settings is needed, of %s", names)
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.ShortTag() == "!!merge" {
			d.mergeShape(at, value, t)
			continue
		}
		field, ok := fields[key.Value]
		first, doubled := lines[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !ok:
			d.refuseLine(key.Line, at.With(key.Value), "unknown field, known are %s", names)
		case doubled:
			d.refuseLine(key.Line, at.With(key.Value), "already given in line %d", first)
		default:
			lines[key.Value] = key.Line
			d.shape(at.With(key.Value), value, field.Type, field.Tag.Get("is"))
		}
	}
}

// mergeShape looks at what is merged into a group: a group, or a list of them.
func (d *Document) mergeShape(at Path, value *yaml.Node, t reflect.Type) {
	if value.Kind != yaml.SequenceNode {
		d.shape(at.With("<<"), value, t, "")
		return
	}
	for i, one := range value.Content {
		d.shape(at.With("<<", i), one, t, "")
	}
}

// fieldsOf returns a group's fields by their names in the file, and these in order.
func fieldsOf(t reflect.Type) (fields map[string]reflect.StructField, names string) {
	fields = make(map[string]reflect.StructField, t.NumField())
	var order []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		fields[name] = t.Field(i)
		order = append(order, name)
	}
	return fields, strings.Join(order, ", ")
}

func (d *Document) scalarShape(at Path, node *yaml.Node, t reflect.Type) {
	need := scalarNeed(t)
	switch {
	case node.Kind == yaml.SequenceNode:
		d.refuseLine(node.Line, at, "%s is needed, not a list", need)
	case node.Kind == yaml.MappingNode:
		d.refuseLine(node.Line, at, "%s is needed, not a group of settings", need)
	case !fits(node, t):
		d.refuseLine(node.Line, at, "%q is not %s", node.Value, need)
	}
}

// scalarNeed says what a field that is no list and no group takes.
func scalarNeed(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[Duration]():
		return "a duration such as 200ms, 30s or 24h"
	case t.Kind() == reflect.String:
		return "a text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Float64:
		return "a number"
	case t.Kind() == reflect.Uint16, t.Kind() == reflect.Uint32:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(math.MaxUint64)>>(64-t.Bits()))
	}
	return "a whole number"
}

// fits reports whether a scalar can be taken as it is written.
func fits(node *yaml.Node, t reflect.Type) bool {
	switch {
	case t == reflect.TypeFor[Duration]():
		_, err := time.ParseDuration(node.Value)
		return err == nil
	case t.Kind() == reflect.String:
		return true
	case t.Kind() != reflect.Bool && t.Kind() != reflect.Float64 && node.ShortTag() != "!!int":
		return false // the library would cut 1.5 down to 1
	}
	return node.Decode(reflect.New(t).Interface()) == nil
}
