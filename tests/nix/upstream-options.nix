{ libPath }: [ ]
