package inflate

import "encoding/binary"

// fast decodes while input and output are far from their ends.
func (d *Decoder) fast(lit, dist *table) (done bool, err error) {
	in, out := d.in, d.out
	ip, op, bits, n := d.ip, d.op, d.bits, d.n
	inEnd, outEnd := len(in)-8, len(out)-slack
	litMask, distMask := uint64(1)<<lit.bits-1, uint64(1)<<dist.bits-1
	litRoot, distRoot := &lit.root, &dist.root
loop:
	for ip <= inEnd && op < outEnd && d.over == 0 {
		bits |= binary.LittleEndian.Uint64(in[ip:]) << n
		ip += int((63 - n) >> 3)
		n |= 56
		e := litRoot[bits&litMask&(1<<litBits-1)]
		if e&isLiteral != 0 { // up to two more, each of at most litBits bits, before bits run out
			bits >>= e & 0x3f
			n -= uint(e & 0xff)
			out[op] = byte(e >> 16)
			op++
			e = litRoot[bits&litMask&(1<<litBits-1)]
			if e&isLiteral != 0 {
				bits >>= e & 0x3f
				n -= uint(e & 0xff)
				out[op] = byte(e >> 16)
				op++
				e = litRoot[bits&litMask&(1<<litBits-1)]
				if e&isLiteral != 0 {
					bits >>= e & 0x3f
					n -= uint(e & 0xff)
					out[op] = byte(e >> 16)
					op++
				}
				continue
			}
			if n < 48 { // code 15 and 5 extra bits, code 15 and 13 extra bits
				continue
			}
		}
		if e&isSpecial != 0 {
			if e&isTable == 0 {
				done, err = finish(e)
				if done {
					bits >>= e & 0x3f
					n -= uint(e & 0xff)
				}
				break loop
			}
			e = lit.more[uint64(e>>16)+bits>>lit.bits&(1<<(e>>8&0xf)-1)]
			if e&isLiteral != 0 {
				bits >>= e & 0x3f
				n -= uint(e & 0xff)
				out[op] = byte(e >> 16)
				op++
				continue
			}
			if e&isSpecial != 0 {
				if done, err = finish(e); done {
					bits >>= e & 0x3f
					n -= uint(e & 0xff)
				}
				break loop
			}
		}
		length := int(e>>16) + int(bits&(1<<(e&0x3f)-1)>>(e>>8&0xf))
		bits >>= e & 0x3f
		n -= uint(e & 0xff)
		f := distRoot[bits&distMask&(1<<distBits-1)]
		if f&isSpecial != 0 {
			if f&isTable != 0 {
				f = dist.more[uint64(f>>16)+bits>>dist.bits&(1<<(f>>8&0xf)-1)]
			}
			if f&isSpecial != 0 {
				err = ErrCorrupt
				break loop
			}
		}
		back := int(f>>16) + int(bits&(1<<(f&0x3f)-1)>>(f>>8&0xf))
		bits >>= f & 0x3f
		n -= uint(f & 0xff)
		if back > op {
			err = ErrCorrupt
			break loop
		}
		match(out, op, back, length)
		op += length
	}
	d.ip, d.op, d.bits, d.n = ip, op, bits&(1<<n-1), n
	return done, err
}

// finish judges an entry that is neither literal nor length.
func finish(e uint32) (bool, error) {
	if e&isEnd != 0 {
		return true, nil
	}
	return false, ErrCorrupt
}

// match copies length bytes from back bytes before op; it may write up to 16 bytes too many.
func match(out []byte, op, back, length int) {
	switch {
	case back >= 16 && length <= 16:
		copy16(out[op:], out[op-back:])
	case back >= length:
		copy(out[op:op+length], out[op-back:])
	case back >= 8:
		for i := 0; i < length; i += 8 {
			v := binary.LittleEndian.Uint64(out[op-back+i:])
			binary.LittleEndian.PutUint64(out[op+i:], v)
		}
	default:
		for i := range length {
			out[op+i] = out[op-back+i]
		}
	}
}

func copy16(dst, src []byte) {
	a, b := binary.LittleEndian.Uint64(src), binary.LittleEndian.Uint64(src[8:])
	binary.LittleEndian.PutUint64(dst, a)
	binary.LittleEndian.PutUint64(dst[8:], b)
}
