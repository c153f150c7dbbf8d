package proof_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var (
	schedules = flag.Int("schedules", 0, "how many schedules of faults; 0 means a few")
	firstSeed = flag.Int64("seed", 1, "seed of the first schedule")
	onlyLoss  = flag.String("loss", "", "deny or allow: what replicas do without the store; empty: both")
	outFolder = flag.String("out", "../../../out", "where the table and what was violated is written")
	atOnce    = flag.Int("at-once", 2, "how many schedules run at a time")
)

// replicaVariable has the test program be a replica instead.
const replicaVariable = "PROOF_REPLICA"

func TestMain(m *testing.M) {
	if text := os.Getenv(replicaVariable); text != "" {
		if err := runReplica(text); err != nil {
			fmt.Fprintln(os.Stderr, "replica:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
