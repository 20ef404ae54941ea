package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// wav returns a file with the given header fields and samples.
func wav(channels, bits uint16, rate uint32, pcm []byte, extra ...byte) []byte {
	var file bytes.Buffer
	put := func(values ...any) {
		for _, value := range values {
			_ = binary.Write(&file, binary.LittleEndian, value)
		}
	}
	file.WriteString("RIFF")
	put(uint32(0))
	file.WriteString("WAVE")
	file.Write(extra)
	file.WriteString("fmt ")
	put(uint32(16), uint16(1), channels, rate, rate*uint32(channels)*uint32(bits)/8, channels*bits/8, bits)
	file.WriteString("data")
	put(uint32(len(pcm)))
	file.Write(pcm)
	return file.Bytes()
}

func TestReadWAV(t *testing.T) {
	pcm := []byte{1, 0, 2, 0, 3, 0}
	odd := []byte{'L', 'I', 'S', 'T', 3, 0, 0, 0, 'a', 'b', 'c', 0} // padded
	for name, file := range map[string][]byte{
		"plain":            wav(1, 16, 16_000, pcm),
		"other chunk":      wav(1, 16, 16_000, pcm, odd...),
		"half a sample":    append(wav(1, 16, 16_000, pcm), 7),
		"length not known": unknownLength(wav(1, 16, 16_000, pcm)),
	} {
		clip, err := ReadWAV(bytes.NewReader(file))
		if err != nil || clip.Rate != 16_000 || !bytes.Equal(clip.PCM, pcm) {
			t.Errorf("%s: %v %v", name, clip, err)
		}
	}
}

// unknownLength sets the length that streams have which were never closed.
func unknownLength(file []byte) []byte {
	at := bytes.Index(file, []byte("data")) + 4
	binary.LittleEndian.PutUint32(file[at:], 0xffffffff)
	return file
}

func TestReadWAVRefusesOthers(t *testing.T) {
	pcm := []byte{1, 0, 2, 0}
	for name, file := range map[string][]byte{
		"empty":      {},
		"text":       []byte("not a wave file at all"),
		"stereo":     wav(2, 16, 16_000, pcm),
		"24 bit":     wav(1, 24, 16_000, pcm),
		"no samples": wav(1, 16, 16_000, nil),
		"no rate":    wav(1, 16, 0, pcm),
		"cut":        wav(1, 16, 16_000, pcm)[:30],
	} {
		if _, err := ReadWAV(bytes.NewReader(file)); !errors.Is(err, ErrNotWAV) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReadWAV(f *testing.F) {
	f.Add(wav(1, 16, 16_000, []byte{1, 0}))
	f.Fuzz(func(t *testing.T, file []byte) {
		clip, err := ReadWAV(bytes.NewReader(file))
		if (err == nil) != (len(clip.PCM) > 0) || len(clip.PCM)%BytesPerSample != 0 {
			t.Errorf("%v %v", clip, err)
		}
	})
}
