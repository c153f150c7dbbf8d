package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/discovery"
)

// rawPods is the group `pods`. What fields it has depends on the kinds of sources
// that are registered, so it is decoded in a second step, see podFields.
type rawPods struct{ node *yaml.Node }

// UnmarshalYAML implements yaml.Unmarshaler.
func (raw *rawPods) UnmarshalYAML(node *yaml.Node) error {
	raw.node = node
	return nil
}

// defaultHold is longer than a source is usually confused: a name server that
// restarts, a list that is generated anew.
const defaultHold = 30 * time.Second

// podFields is the type of the group: hold, static, and a field for each kind.
func podFields(kinds []discovery.Kind) reflect.Type {
	fields := []reflect.StructField{
		{Name: "Static", Type: reflect.TypeFor[*discovery.List](), Tag: reflect.StructTag(fmt.Sprintf(`yaml:"static" is:%q`, discovery.WhatListIs))},
	}
	for i, k := range kinds {
		fields = append(fields, reflect.StructField{Name: kindField(i), Type: reflect.TypeOf(k.Config()), Tag: reflect.StructTag(fmt.Sprintf(`yaml:%q`, k.Name))})
	}
	return reflect.StructOf(append(fields, reflect.StructField{Name: "Hold", Type: reflect.TypeFor[*duration](), Tag: `yaml:"hold"`}))
}

func kindField(i int) string { return fmt.Sprintf("Kind%d", i) }

func (raw *rawPods) check(doc *document, at path) statefulroute.PodSource {
	kinds := doc.pods.Kinds()
	fields := reflect.New(podFields(kinds)).Elem()
	if raw.node != nil {
		doc.DecodeLate(at, raw.node, fields.Addr().Interface())
	}
	source := checkSource(doc, at, kinds, fields)
	hold := fields.FieldByName("Hold").Interface().(*duration)
	if source.Static == nil {
		source.Hold = orDuration(hold, defaultHold)
	} else if hold != nil {
		doc.Refuse(at.With("hold"), "a static list is believed at once: hold is for the other sources")
	}
	if source.Hold < 0 {
		doc.Refuse(at.With("hold"), "must not be negative")
	}
	return source
}

// checkSource takes the one field that is given, hold aside.
func checkSource(doc *document, at path, kinds []discovery.Kind, fields reflect.Value) statefulroute.PodSource {
	names, given := []string{"static"}, map[string]discovery.Config{}
	for i, k := range kinds {
		names = append(names, k.Name)
		if field := fields.FieldByName(kindField(i)); !field.IsNil() {
			given[k.Name] = field.Interface().(discovery.Config)
		}
	}
	list := fields.FieldByName("Static").Interface().(*discovery.List)
	if n := len(given) + count(list != nil); n != 1 {
		last := len(names) - 1
		doc.Refuse(at, "exactly one of %s and %s is needed, found %d", strings.Join(names[:last], ", "), names[last], n)
		return statefulroute.PodSource{}
	}
	for name, source := range given {
		source.Check(doc.Document, at.With(name))
		return statefulroute.PodSource{Discovery: source}
	}
	return statefulroute.PodSource{Static: list.Check(doc.Document, at.With("static"))}
}
