package fastpath

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// inst is an instruction as a reader has it.
type inst struct {
	op       syntax.InstOp
	out, arg uint32
	ranges   []rune
}

func (i *inst) takes(r rune) bool {
	switch i.op {
	case syntax.InstRuneAny:
		return true
	case syntax.InstRuneAnyNotNL:
		return r != '\n'
	}
	for p := 0; p < len(i.ranges); p += 2 {
		if i.ranges[p] <= r && r <= i.ranges[p+1] {
			return true
		}
	}
	return false
}

// machine runs a program that was written down.
type machine struct {
	insts   []inst
	text    string
	visited map[[2]int]bool
	groups  [4]int
}

func readProgram(t *rapid.T, program []byte, input string) (m *machine, start int) {
	p := &text{program}
	m = &machine{text: input, visited: map[[2]int]bool{}}
	n := p.u16()
	start = p.u16()
	for range n {
		i := inst{op: syntax.InstOp(p.u8()), out: p.u32(), arg: p.u32()}
		for range 2 * p.u16() {
			i.ranges = append(i.ranges, rune(p.u32()))
		}
		for r := 1; r < len(i.ranges); r++ {
			if i.ranges[r] < i.ranges[r-1] {
				t.Fatalf("ranges are not in order: %v", i.ranges)
			}
		}
		m.insts = append(m.insts, i)
	}
	if len(p.left) != 0 || start >= n {
		t.Fatalf("%d bytes left, start %d of %d", len(p.left), start, n)
	}
	return m, start
}

// match prefers what the pattern prefers.
func (m *machine) match(pc, pos int) bool {
	if m.visited[[2]int{pc, pos}] {
		return false
	}
	m.visited[[2]int{pc, pos}] = true
	i := &m.insts[pc]
	out := int(i.out)
	switch i.op {
	case syntax.InstMatch:
		return true
	case syntax.InstFail:
		return false
	case syntax.InstAlt, syntax.InstAltMatch:
		return m.match(out, pos) || m.match(int(i.arg), pos)
	case syntax.InstCapture:
		if i.arg >= 4 {
			return m.match(out, pos)
		}
		before := m.groups[i.arg]
		m.groups[i.arg] = pos
		if m.match(out, pos) {
			return true
		}
		m.groups[i.arg] = before
		return false
	case syntax.InstEmptyWidth:
		before, _ := utf8.DecodeLastRuneInString(m.text[:pos])
		after, _ := utf8.DecodeRuneInString(m.text[pos:])
		if pos == 0 {
			before = -1
		}
		if pos == len(m.text) {
			after = -1
		}
		return syntax.EmptyOp(i.arg)&^syntax.EmptyOpContext(before, after) == 0 && m.match(out, pos)
	case syntax.InstNop:
		return m.match(out, pos)
	}
	if pos == len(m.text) {
		return false
	}
	r, width := utf8.DecodeRuneInString(m.text[pos:])
	return i.takes(r) && m.match(out, pos+width)
}

// group is what the first group matches.
func (m *machine) group(start int) (string, bool) {
	for pos := 0; pos <= len(m.text); {
		m.groups = [4]int{-1, -1, -1, -1}
		if m.match(start, pos) {
			if m.groups[2] < 0 || m.groups[3] < 0 {
				return "", true
			}
			return m.text[m.groups[2]:m.groups[3]], true
		}
		_, width := utf8.DecodeRuneInString(m.text[pos:])
		pos += max(width, 1)
	}
	return "", false
}

func anyPattern(t *rapid.T) string {
	parts := []string{"a", "b", "K", "ſ", "é", "/", `\d`, `\pL`, `\PL`, "[^/]", "[a-cX-Z]", "(?i:k)", "(?i:[a-k]s)", ".", `(?s:.)`, "^", "$", `\b`, `\B`, `\z`, "(?m:^a$)", "x{2,3}", "(", ")", "|", "*", "+?", "?", "+", "*?"}
	return "(" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 1, 8).Draw(t, "pattern"), "") + ")"
}

// A program that was written down finds what package regexp finds.
func TestProgramsFindWhatPatternsFind(t *testing.T) {
	matched, tried := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		pattern := anyPattern(t)
		re, err := regexp.Compile(pattern)
		if err != nil || re.NumSubexp() == 0 { // (?) is no group
			t.Skip("no pattern of a key")
		}
		input := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "k", "K", "\u212a", "s", "ſ", "é", "/", "7", "\n", "\xff", "\xe2\x82", "X", "x", "_", " ", "�", "😀"}), 0, 12).Draw(t, "input"), "")
		m, start := readProgram(t, compilePattern(pattern), input)
		group, found := m.group(start)
		want := re.FindStringSubmatch(input)
		tried++
		if want != nil {
			matched++
		}
		if found != (want != nil) || found && group != want[1] {
			t.Fatalf("%q in %q: %v %q, want %q", pattern, input, found, group, want)
		}
	})
	if matched < tried/20 {
		t.Errorf("%d of %d matched", matched, tried)
	}
}

// What is no pattern, or too long a program, is not written down.
func TestPatternsThatAreLeftOut(t *testing.T) {
	for _, pattern := range []string{"(", "(a{1000}b{1000})"} {
		if program := compilePattern(pattern); program != nil {
			t.Errorf("%q is a program of %d bytes", pattern, len(program))
		}
	}
}
