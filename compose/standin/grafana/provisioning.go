package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// provisioningPath is where Grafana's image looks.
const provisioningPath = "etc/grafana/provisioning"

// provisioned is what a Grafana would have after its start.
type provisioned struct {
	datasources map[string]*url.URL // by uid
	dashboards  map[string]dashboard
}

type datasourceFile struct {
	APIVersion  int `yaml:"apiVersion"`
	Datasources []struct {
		Name, UID, Type, Access, URL string
		IsDefault                    bool           `yaml:"isDefault"`
		Editable                     bool           `yaml:"editable"`
		JSONData                     map[string]any `yaml:"jsonData"`
	} `yaml:"datasources"`
}

type providerFile struct {
	APIVersion int `yaml:"apiVersion"`
	Providers  []struct {
		Name, Type, Folder string
		AllowUIUpdates     bool `yaml:"allowUiUpdates"`
		DisableDeletion    bool `yaml:"disableDeletion"`
		Options            struct{ Path string }
	} `yaml:"providers"`
}

// dashboard is the part of a dashboard that can be wrong here.
type dashboard struct {
	UID        string  `json:"uid"`
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct{ Name, Type string } `json:"list"`
	} `json:"templating"`
}

type panel struct {
	Title      string     `json:"title"`
	Type       string     `json:"type"`
	Datasource datasource `json:"datasource"`
	Targets    []struct {
		Expr       string     `json:"expr"`
		Datasource datasource `json:"datasource"`
	} `json:"targets"`
}

type datasource struct{ Type, UID string }

// load reads what is provisioned below root.
func load(root string) (*provisioned, error) {
	p := &provisioned{datasources: map[string]*url.URL{}, dashboards: map[string]dashboard{}}
	if err := p.loadDatasources(root); err != nil {
		return nil, err
	}
	if err := p.loadDashboards(root); err != nil {
		return nil, err
	}
	if len(p.datasources) == 0 || len(p.dashboards) == 0 {
		return nil, fmt.Errorf("provisioned are %d data sources and %d dashboards", len(p.datasources), len(p.dashboards))
	}
	return p, nil
}

func (p *provisioned) loadDatasources(root string) error {
	return eachYAML(filepath.Join(root, provisioningPath, "datasources"), func(raw []byte) error {
		var f datasourceFile
		if err := strict(raw, &f); err != nil {
			return err
		}
		for _, d := range f.Datasources {
			target, err := url.Parse(d.URL)
			if err != nil || target.Host == "" {
				return fmt.Errorf("data source %q: %q is no URL", d.Name, d.URL)
			}
			if d.UID == "" || d.Type != "prometheus" {
				return fmt.Errorf("data source %q: uid %q, type %q", d.Name, d.UID, d.Type)
			}
			p.datasources[d.UID] = target
		}
		return nil
	})
}

func (p *provisioned) loadDashboards(root string) error {
	return eachYAML(filepath.Join(root, provisioningPath, "dashboards"), func(raw []byte) error {
		var f providerFile
		if err := strict(raw, &f); err != nil {
			return err
		}
		for _, provider := range f.Providers {
			files, err := filepath.Glob(filepath.Join(root, provider.Options.Path, "*.json"))
			if err != nil || len(files) == 0 {
				return fmt.Errorf("provider %q: no dashboard in %q", provider.Name, provider.Options.Path)
			}
			for _, file := range files {
				if err := p.loadDashboard(file); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
			}
		}
		return nil
	})
}

func (p *provisioned) loadDashboard(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var d dashboard
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	if d.UID == "" || d.Title == "" || len(d.Panels) == 0 {
		return fmt.Errorf("uid %q, title %q, %d panels", d.UID, d.Title, len(d.Panels))
	}
	for _, panel := range d.Panels {
		if err := p.check(d, panel); err != nil {
			return fmt.Errorf("panel %q: %w", panel.Title, err)
		}
	}
	p.dashboards[d.UID] = d
	return nil
}

// check refuses a panel that has no query, or one that no data source answers.
func (p *provisioned) check(d dashboard, panel panel) error {
	if panel.Type == "row" {
		return nil
	}
	if len(panel.Targets) == 0 {
		return errors.New("no query")
	}
	for _, target := range panel.Targets {
		if target.Expr == "" {
			return errors.New("an empty query")
		}
		if !p.has(d, panel.Datasource) || !p.has(d, target.Datasource) {
			return fmt.Errorf("data source %v is not provisioned", target.Datasource)
		}
	}
	return nil
}

// has takes a data source by its uid, or by a variable that lists those there are.
func (p *provisioned) has(d dashboard, source datasource) bool {
	name, isVariable := strings.CutPrefix(source.UID, "${")
	if !isVariable {
		return p.datasources[source.UID] != nil
	}
	for _, v := range d.Templating.List {
		if v.Name == strings.TrimSuffix(name, "}") && v.Type == "datasource" {
			return true
		}
	}
	return false
}

// eachYAML hands every YAML file of a folder to use.
func eachYAML(folder string, use func([]byte) error) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err == nil {
			err = use(raw)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func strict(raw []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	return dec.Decode(into)
}
