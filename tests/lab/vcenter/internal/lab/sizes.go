package lab

// DeltaSizes is how many bytes each delta holds, by the number in its file's name.
func (m *Machine) DeltaSizes() map[int]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	sizes := map[int]int64{}
	for _, l := range m.layers {
		sizes[l.number] = 0
		for _, overlay := range l.overlays {
			for _, area := range overlay.Areas() {
				sizes[l.number] += area.Length
			}
		}
	}
	return sizes
}
