// Package audio reads recordings as the PCM that live sessions take.
package audio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Clip is a recording with one channel of signed 16-bit little-endian PCM.
type Clip struct {
	PCM []byte
	// Hertz.
	Rate int
}

// BytesPerSample of one channel.
const BytesPerSample = 2

const (
	formatPCM  = 1
	maxWAVSize = 1 << 30
)

// ErrNotWAV says that a file is not a RIFF WAVE file of 16-bit PCM with one channel.
var ErrNotWAV = errors.New("not a WAV file of 16-bit PCM with one channel: convert it with ffmpeg -ac 1 -c:a pcm_s16le")

// ReadWAV returns the samples of a WAV file. A data chunk whose length is unknown or too large ends with the file.
func ReadWAV(file io.Reader) (Clip, error) {
	data, err := io.ReadAll(io.LimitReader(file, maxWAVSize))
	if err != nil {
		return Clip{}, err
	}
	if len(data) < 12 || string(data[:4]) != "RIFF" || string(data[8:12]) != "WAVE" {
		return Clip{}, ErrNotWAV
	}
	var clip Clip
	for rest := data[12:]; len(rest) >= 8; {
		name, size := string(rest[:4]), int(binary.LittleEndian.Uint32(rest[4:8]))
		body := rest[8:]
		size = min(size, len(body))
		switch name {
		case "fmt ":
			if size < 16 {
				return Clip{}, ErrNotWAV
			}
			format, channels := binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[2:])
			bits := binary.LittleEndian.Uint16(body[14:])
			if format != formatPCM || channels != 1 || bits != 8*BytesPerSample {
				return Clip{}, fmt.Errorf("%w (format %d, %d channels, %d bits)", ErrNotWAV, format, channels, bits)
			}
			clip.Rate = int(binary.LittleEndian.Uint32(body[4:]))
		case "data":
			clip.PCM = body[:size-size%BytesPerSample]
			if clip.Rate == 0 || len(clip.PCM) == 0 {
				return Clip{}, ErrNotWAV
			}
			return clip, nil
		}
		rest = body[min(size+size%2, len(body)):] // chunks are padded to even lengths
	}
	return Clip{}, ErrNotWAV
}
