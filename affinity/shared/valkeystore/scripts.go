package valkeystore

import (
	"crypto/sha1" //nolint:gosec // it names a script, as the server does
	"embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

//go:embed scripts/*.lua
var sources embed.FS

// script is one that a server has loaded, by its name.
type script struct{ text, sha string }

// The scripts that are loaded for an incarnation, and whether they know of votes.
var scriptNames = []string{
	"join", "renew", "acted", "ready", "leave", "claim", "rebind", "change", "finish",
	"fence", "unfence", "refresh", "peek", "list", "pods", "count",
}

// scriptsOf are the scripts of an incarnation.
func scriptsOf(incarnation string, lease time.Duration) map[string]script {
	prelude := strings.NewReplacer("@INCARNATION@", incarnation, "@LEASE@", strconv.FormatInt(lease.Milliseconds(), 10)).Replace(source("prelude"))
	votes := source("votes")
	out := make(map[string]script, len(scriptNames))
	for _, name := range scriptNames {
		text := prelude + source(name)
		if name == "leave" || name == "unfence" {
			text = prelude + votes + source(name)
		}
		sum := sha1.Sum([]byte(text)) //nolint:gosec // see above
		out[name] = script{text, hex.EncodeToString(sum[:])}
	}
	return out
}

// source is a script's text, which is part of the program.
func source(name string) string {
	text, err := sources.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(fmt.Sprintf("script %s: %v", name, err))
	}
	return string(text)
}
