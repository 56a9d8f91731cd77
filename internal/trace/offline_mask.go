package trace

import (
	"bytes"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/trace/mask"
)

// offUnit is a byte, a masked value or a gap, and the piece with which it gets out.
type offUnit struct {
	kind offKind
	b    byte
	by   int
}

type offKind int

const (
	offByte offKind = iota
	offMask
	offHole  // bytes are missing here
	offClose // the stream ends here
)

// mask fills masked in all pieces of a stream. Each of the three steps is a function of the whole
// stream; what is held back at the end of a piece is what may still become part of something masked.
func (off *offline) mask(s *offStream) {
	units := off.values(s)
	units = urlParameters(units)
	units = tokens(units, off.tokenPrefixes(), s.pieces)
	for _, u := range units {
		switch u.kind {
		case offByte:
			off.pieces[u.by].masked = append(off.pieces[u.by].masked, u.b)
		case offMask:
			off.pieces[u.by].masked = append(off.pieces[u.by].masked, mask.Mask...)
		}
	}
}

// values masks secrets between each two gaps or ends.
func (off *offline) values(s *offStream) (units []offUnit) {
	secrets := mask.Values(off.o.Secrets)
	var text []byte
	var ends []int // of text at each piece
	from := 0      // first piece of text
	for k, i := range s.pieces {
		p := off.pieces[i]
		text = append(text, p.data...)
		ends = append(ends, len(text))
		if p.op == offWrite || p.op == offFresh {
			continue
		}
		units = append(units, valuesIn(text, ends, s.pieces[from:k+1], secrets)...)
		kind := offHole
		if p.op == offEnd {
			kind = offClose
		}
		units = append(units, offUnit{kind: kind, by: i})
		text, ends, from = nil, nil, k+1
	}
	return units
}

func valuesIn(text []byte, ends, pieces []int, secrets []string) (units []offUnit) {
	cover := make([]int, len(text)) // 1: begins a masked stretch, 2: inside one
	for _, v := range secrets {
		for at := 0; ; {
			n := bytes.Index(text[at:], []byte(v))
			if n < 0 {
				break
			}
			at += n
			cover[at] = max(cover[at], 1)
			for k := at + 1; k < at+len(v); k++ {
				cover[k] = 2
			}
			at++
		}
	}
	done := 0
	for k, end := range ends {
		decided := end
		if k < len(ends)-1 {
			decided = end - heldOf(text[:end], secrets)
		}
		for ; done < decided; done++ {
			switch cover[done] {
			case 0:
				units = append(units, offUnit{kind: offByte, b: text[done], by: pieces[k]})
			case 1:
				units = append(units, offUnit{kind: offMask, by: pieces[k]})
			}
		}
	}
	return units
}

// heldOf is the length of the longest end of text that begins one of all, without being all of it.
func heldOf(text []byte, all []string) (held int) {
	for _, v := range all {
		for n := min(len(v)-1, len(text)); n > held; n-- {
			if string(text[len(text)-n:]) == v[:n] {
				held = n
			}
		}
	}
	return held
}

// urlParameters masks the values of URL parameters.
func urlParameters(in []offUnit) (out []offUnit) {
	for i := 0; i < len(in); {
		if in[i].kind != offByte || in[i].b != '?' && in[i].b != '&' {
			out = append(out, in[i])
			i++
			continue
		}
		name, j := "", i+1
		begins := func(n string) bool {
			return slices.ContainsFunc(mask.URLKeys(), func(k string) bool { return strings.HasPrefix(k+"=", strings.ToLower(n)) })
		}
		for j < len(in) && in[j].kind == offByte && begins(name+string([]byte{in[j].b})) {
			name += string([]byte{in[j].b})
			j++
		}
		full := strings.HasSuffix(name, "=")
		by := in[len(in)-1].by
		if full {
			by = in[j-1].by
		} else if j < len(in) {
			by = in[j].by
		}
		for ; i < j; i++ {
			out = append(out, offUnit{kind: offByte, b: in[i].b, by: by})
		}
		if full {
			out = append(out, offUnit{kind: offMask, by: by})
			for ; i < len(in) && in[i].kind != offClose && (in[i].kind != offByte || !mask.ValueEnd(in[i].b)); i++ {
				if in[i].kind == offHole {
					out = append(out, in[i])
				}
			}
		}
	}
	return out
}

// tokens masks what follows a token prefix.
func tokens(in []offUnit, prefixes []string, pieces []int) (out []offUnit) {
	for i := 0; i < len(in); {
		if in[i].kind != offByte {
			out = append(out, in[i])
			i++
			continue
		}
		// in[i:j] is text up to the end of a prefix, or up to something that is no text.
		text, j, found := []byte(nil), i, false
		for ; j < len(in) && in[j].kind == offByte && !found; j++ {
			text = append(text, in[j].b)
			found = slices.ContainsFunc(prefixes, func(p string) bool { return bytes.HasSuffix(text, []byte(p)) })
		}
		last := in[min(j, len(in)-1)].by // what decides the text's end
		if found {
			last = in[j-1].by
		}
		out = append(out, released(in[i:j], text, prefixes, pieces, last)...)
		i = j
		if !found {
			continue
		}
		masked := false
		for ; i < len(in) && in[i].kind != offClose && (in[i].kind != offByte || mask.TokenByte(in[i].b)); i++ {
			if in[i].kind == offHole {
				out = append(out, in[i])
			} else if !masked {
				out = append(out, offUnit{kind: offMask, by: in[i].by})
				masked = true
			}
		}
	}
	return out
}

// released delays units that are held back because they may begin a prefix.
func released(in []offUnit, text []byte, prefixes []string, pieces []int, last int) (out []offUnit) {
	done, arrived := 0, 0
	first, _ := slices.BinarySearch(pieces, in[0].by)
	for _, piece := range pieces[first:] {
		if piece >= last || done == len(in) {
			break
		}
		before := arrived
		for arrived < len(in) && in[arrived].by <= piece {
			arrived++
		}
		if arrived == before {
			continue
		}
		for decided := arrived - heldOf(text[:arrived], prefixes); done < decided; done++ {
			out = append(out, offUnit{kind: offByte, b: in[done].b, by: piece})
		}
	}
	for ; done < len(in); done++ {
		out = append(out, offUnit{kind: offByte, b: in[done].b, by: max(last, in[done].by)})
	}
	return out
}
