/**
 * The part of ECharts that draws the report. The build bundles it into this module (scripts/compile.mjs), so that ECharts with its
 * 62 MB is not a dependency at run time.
 */
import { CustomChart, LineChart, ScatterChart } from 'echarts/charts';
import { GridComponent, LegendComponent, MarkLineComponent } from 'echarts/components';
import { init, use } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';

use([CustomChart, LineChart, ScatterChart, GridComponent, LegendComponent, MarkLineComponent, SVGRenderer]);

/** @param option ECharts' option object */
export function drawSvg(width: number, height: number, option: Readonly<Record<string, unknown>>): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height });
  try {
    chart.setOption(option);
    return chart.renderToSVGString();
  } finally {
    chart.dispose(); // otherwise the process does not exit
  }
}
