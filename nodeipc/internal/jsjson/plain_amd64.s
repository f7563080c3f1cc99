#include "textflag.h"

// func skipPlain(p *byte, n int) (skip int, high uint64)
//
// The text around a string's end is seldom worth a vector, a long string is: 16 bytes for the price of one word.
TEXT ·skipPlain(SB), NOSPLIT, $0-32
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	XORQ AX, AX
	MOVQ $0x2222222222222222, DX // '"'
	MOVQ DX, X0
	PUNPCKLQDQ X0, X0
	MOVQ $0x5c5c5c5c5c5c5c5c, DX // '\\'
	MOVQ DX, X1
	PUNPCKLQDQ X1, X1
	MOVQ $0x1f1f1f1f1f1f1f1f, DX // the last control character
	MOVQ DX, X2
	PUNPCKLQDQ X2, X2
	PXOR X3, X3 // all bytes that were passed

next:
	MOVOU (SI)(AX*1), X4
	MOVOU 16(SI)(AX*1), X5
	MOVOA X4, X6
	PCMPEQB X0, X6
	MOVOA X4, X7
	PCMPEQB X1, X7
	POR X7, X6
	MOVOA X4, X7
	PMINUB X2, X7
	PCMPEQB X4, X7
	POR X7, X6
	MOVOA X5, X8
	PCMPEQB X0, X8
	MOVOA X5, X9
	PCMPEQB X1, X9
	POR X9, X8
	MOVOA X5, X9
	PMINUB X2, X9
	PCMPEQB X5, X9
	POR X9, X8
	POR X6, X8
	PMOVMSKB X8, DX
	TESTL DX, DX
	JNE done
	POR X4, X3
	POR X5, X3
	ADDQ $32, AX
	LEAQ 32(AX), BX
	CMPQ BX, CX
	JLS next

done:
	MOVQ AX, skip+16(FP)
	PMOVMSKB X3, DX
	MOVQ DX, high+24(FP)
	RET
