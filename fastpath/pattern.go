package fastpath

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode"
)

// maxInsts is how long a program may be that readers run.
const maxInsts = 1000

// compilePattern writes down the program that package regexp runs for a pattern; nil for one
// that is left to extproc, being too long. Instructions have the numbers of syntax.InstOp,
// but for InstRune1, which is a range as well:
//
//	u16 instructions · u16 first: { u8 op · u32 out · u32 arg · u16 ranges: { u32 lowest · u32 highest } }
//
// Ranges are in order, and have what the pattern matches whatever the case.
func compilePattern(pattern string) []byte {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil || len(program.Inst) > maxInsts {
		return nil
	}
	text := binary.LittleEndian.AppendUint16(nil, uint16(len(program.Inst)))
	text = binary.LittleEndian.AppendUint16(text, uint16(program.Start))
	for i := range program.Inst {
		text = appendInst(text, &program.Inst[i])
	}
	return text
}

func appendInst(text []byte, inst *syntax.Inst) []byte {
	op, arg, ranges := inst.Op, inst.Arg, []rune(nil)
	if op == syntax.InstRune || op == syntax.InstRune1 {
		op, arg, ranges = syntax.InstRune, 0, rangesOf(inst)
	}
	text = append(text, byte(op))
	text = binary.LittleEndian.AppendUint32(text, inst.Out)
	text = binary.LittleEndian.AppendUint32(text, arg)
	text = binary.LittleEndian.AppendUint16(text, uint16(len(ranges)/2))
	for _, r := range ranges {
		text = binary.LittleEndian.AppendUint32(text, uint32(r))
	}
	return text
}

// rangesOf are the runes that an instruction takes, as pairs in order. A single rune may stand
// for those of other case.
func rangesOf(inst *syntax.Inst) []rune {
	if len(inst.Rune) != 1 {
		return inst.Rune
	}
	all := []rune{inst.Rune[0]}
	if syntax.Flags(inst.Arg)&syntax.FoldCase != 0 {
		for r := unicode.SimpleFold(all[0]); r != all[0]; r = unicode.SimpleFold(r) {
			all = append(all, r)
		}
	}
	slices.Sort(all)
	var pairs []rune
	for _, r := range all {
		pairs = append(pairs, r, r)
	}
	return pairs
}
